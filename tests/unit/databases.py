"""Databases of a test's own, beside those of the settings."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from pooldaemon.connections import close_pool
from pooldaemon.pool.registry import registry

AddDatabase = Callable[..., str]
"""Takes settings of a database, such as `ENGINE=…`; returns its alias."""

_numbers = count()


@contextmanager
def own_databases() -> Iterator[AddDatabase]:
    """Databases that can be added; at the end they and all pools are gone."""
    added: list[str] = []

    def add(**settings: Any) -> str:
        alias = f"own{next(_numbers)}"
        configured = connections.configure_settings({"default": {}, alias: settings})
        connections.settings[alias] = configured[alias]
        added.append(alias)
        return alias

    try:
        yield add
    finally:
        for alias in added:
            connection = connections[alias]
            connection.in_atomic_block = False
            BaseDatabaseWrapper.close(connection)  # SQLite's own keeps a database in memory
        close_pool()
        # The pools themselves go too: a test's statistics begin at nothing.
        registry.limit({})
        for alias in added:
            del connections[alias]
            del connections.settings[alias]
