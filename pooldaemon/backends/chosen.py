"""Which database the current task has chosen by ``async with use_database()``.

The choice belongs to the task. Its connection belongs to the thread that runs the task's
synchronous code. In any other thread a query would silently use the database of the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Protocol

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from pooldaemon.exceptions import PoolError


class Block(Protocol):
    active: bool


chosen: ContextVar[Mapping[str, Block]] = ContextVar("chosen", default=MappingProxyType({}))
"""By alias, the innermost block of the current task."""


def check_thread(wrapper: BaseDatabaseWrapper) -> None:
    """:raises PoolError: *wrapper* uses the settings, but the task has chosen another database."""
    block = chosen.get().get(wrapper.alias)
    if block is None or not block.active:
        return
    if wrapper.settings_dict is connections.settings.get(wrapper.alias):
        raise PoolError(
            f"use_database({wrapper.alias!r}) is open around this task, but not in this thread, "
            "which would use the database of the settings. Run the code with "
            "sync_to_async(thread_sensitive=True), the default, before the request ends."
        )
