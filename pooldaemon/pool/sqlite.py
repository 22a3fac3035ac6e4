"""SQLite's sessions: nothing to ping, a transaction to roll back."""

from __future__ import annotations

from typing import Any

from pooldaemon.pool.dialect import DriverDialect


class SQLiteDialect(DriverDialect):
    def reset(self, connection: Any) -> bool:
        if connection.in_transaction:
            connection.rollback()
        # Autocommit, in which Django runs SQLite; ``atomic`` left half-way may have changed it.
        connection.isolation_level = None
        return False
