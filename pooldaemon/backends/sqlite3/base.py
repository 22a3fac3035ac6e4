"""Django's SQLite backend with pooled connections, set up for several threads and processes.

It serves for trials without a server. Write-ahead logging lets readers and a writer work at the
same time. ``IMMEDIATE`` transactions and a long busy timeout make writers wait instead of fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.backends.sqlite3 import base

from pooldaemon.backends.base import PooledDatabaseMixin
from pooldaemon.backends.sqlite3.creation import DatabaseCreation
from pooldaemon.pool.config import PoolConfig
from pooldaemon.pool.drivers.base import DriverDialect
from pooldaemon.pool.drivers.sqlite import PooledConnection, SQLiteDialect

BUSY_TIMEOUT = 30.0
"""Seconds (``OPTIONS["timeout"]``). Long, because SQLite does not serve writers in order."""


class DatabaseWrapper(PooledDatabaseMixin, base.DatabaseWrapper):
    init_commands: list[str]
    creation_class = DatabaseCreation

    def make_dialect(self, config: PoolConfig, open_session: Callable[..., Any]) -> DriverDialect:
        return SQLiteDialect(open_session)

    def is_poolable(self) -> bool:
        # Every connection to :memory: is a database of its own.
        return super().is_poolable() and not self.is_in_memory_db()

    def get_connection_params(self) -> dict[str, Any]:
        params = {"timeout": BUSY_TIMEOUT, **super().get_connection_params()}
        if "transaction_mode" not in self.settings_dict["OPTIONS"]:
            self.transaction_mode = "IMMEDIATE"
        if self.is_poolable():
            params["factory"] = PooledConnection
        if not self.is_in_memory_db():
            self.init_commands.insert(0, "PRAGMA journal_mode = WAL")
        return params
