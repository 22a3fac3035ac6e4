"""What every log record tells of its origin: the daemon, the worker and the unit of work.

As attributes of the record, for any handler and formatter, those of libraries included. A filter
would have to be on each handler, also on those that are added later.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

NONE = "-"

FIELDS = ("daemon_name", "daemon_worker", "daemon_unit")
"""With a prefix: logging refuses a call whose ``extra`` has a name that the record has already."""

# Not a thread's name: sync_to_async(), asyncio.to_thread() and copy_context() take it along.
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
    """This process is the daemon's no more."""
    _Process.daemon = _Process.worker = NONE


@contextmanager
def unit(name: str) -> Iterator[None]:
    """What is logged in the block, in this context, belongs to the unit *name*."""
    token = _unit.set(name)
    try:
        yield
    finally:
        _unit.reset(token)


def add_fields() -> None:
    """Let every record from now on have all of :data:`FIELDS`, here and in forked children.

    Builds on whatever makes records now. Does nothing if they have them.
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
