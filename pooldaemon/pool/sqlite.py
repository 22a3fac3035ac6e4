"""SQLite's sessions: nothing to ping, a transaction to roll back."""

from __future__ import annotations

import sqlite3
import weakref
from typing import Any

from pooldaemon.pool.dialect import DriverDialect
from pooldaemon.pool.handle import BorrowedConnection


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


class SQLiteHandle(BorrowedConnection):
    __slots__ = ()
    _error_class = sqlite3.InterfaceError


class SQLiteDialect(DriverDialect):
    handle_class = SQLiteHandle

    def reset(self, connection: Any) -> bool:
        connection.close_cursors()
        if connection.in_transaction:
            connection.rollback()
        # Autocommit, in which Django runs SQLite; ``atomic`` left half-way may have changed it.
        connection.isolation_level = None
        return False
