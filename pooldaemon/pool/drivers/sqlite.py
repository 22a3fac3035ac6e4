"""SQLite's sessions: nothing to ping, a transaction to roll back."""

from __future__ import annotations

import sqlite3
import time
import weakref
from contextlib import suppress
from typing import Any

from pooldaemon.pool.drivers.base import DriverDialect
from pooldaemon.pool.queue.lease import Lease

BUSY_PAUSE = 0.02
"""Seconds between attempts to open a file that is busy."""


class PooledConnection(sqlite3.Connection):
    """Knows its open cursors, which may not outlive a borrow."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.last_used = 0.0
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        cursor = super().cursor(*args, **kwargs)
        self._cursors.add(cursor)
        return cursor

    def close_cursors(self) -> None:
        for cursor in list(self._cursors):
            cursor.close()
        self._cursors.clear()


class SQLiteHandle(Lease):
    __slots__ = ()
    _error_class = sqlite3.InterfaceError


class SQLiteDialect(DriverDialect):
    lease_class = SQLiteHandle

    def _open(self, deadline: float | None) -> Any:
        # When several switch a new file to write-ahead logging at the same time, some of them get
        # "database is locked" at once, whatever the busy timeout.
        while True:
            try:
                return self._open_session()
            except sqlite3.OperationalError as error:
                _close_half_open(error)
                code = error.sqlite_errorcode & 0xFF  # without what extends it
                over = deadline is None or time.monotonic() + BUSY_PAUSE >= deadline
                if code != sqlite3.SQLITE_BUSY or over:
                    raise
            time.sleep(BUSY_PAUSE)

    def reset(self, connection: Any) -> bool:
        connection.close_cursors()
        if connection.in_transaction:
            connection.rollback()
        # Autocommit, in which Django runs SQLite; ``atomic`` left half-way may have changed it.
        connection.isolation_level = None
        return False


def _close_half_open(error: sqlite3.OperationalError) -> None:
    """Close what Django has opened and could not set up: only its frames know of it."""
    traceback = error.__traceback__
    while traceback is not None:
        for value in traceback.tb_frame.f_locals.values():
            if isinstance(value, PooledConnection):
                with suppress(sqlite3.ProgrammingError):  # it was not even opened
                    value.close()
        traceback = traceback.tb_next
