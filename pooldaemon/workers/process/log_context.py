"""Adds the daemon, the worker and the unit of work to every log record.

As attributes of the record, they are there for all handlers and formatters, including those of
libraries. A filter would have to be added to each handler, including later ones.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

NONE = "-"

FIELDS = ("daemon_name", "daemon_worker", "daemon_unit")
"""With a prefix: logging raises an error for an ``extra`` with a name that the record has
already."""

# A context variable, which sync_to_async(), asyncio.to_thread() and copy_context() pass on.
_unit: ContextVar[str] = ContextVar("pooldaemon_unit", default=NONE)


class _Process:
    """The same in all threads."""

    daemon = NONE
    worker = NONE


def note_daemon(name: str) -> None:
    """This process is the supervisor of the daemon *name*."""
    _Process.daemon = name
    _Process.worker = "supervisor"


def note_worker(name: str) -> None:
    """This process, forked from the supervisor, is *name*."""
    _Process.worker = name


def forget() -> None:
    """This process does not belong to the daemon any more."""
    _Process.daemon = _Process.worker = NONE


@contextmanager
def unit(name: str) -> Iterator[None]:
    """Log records that this context makes in the block belong to the unit *name*."""
    token = _unit.set(name)
    try:
        yield
    finally:
        _unit.reset(token)


def add_fields() -> None:
    """Add :data:`FIELDS` to every log record from now on, in this process and forked children.

    Wraps the current record factory. Does nothing if records have the fields already.
    """
    make = logging.getLogRecordFactory()
    if hasattr(logging.makeLogRecord({}), FIELDS[0]):
        return

    def make_with_fields(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        record.daemon_name = _Process.daemon
        record.daemon_worker = _Process.worker
        record.daemon_unit = _unit.get()
        return record

    logging.setLogRecordFactory(make_with_fields)
