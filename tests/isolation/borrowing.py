"""A pool with one connection, and those who borrow it one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import Error

from pooldaemon.stats import PoolStats


class Pooled:
    def __init__(self, alias: str) -> None:
        self.alias = alias

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return connections[self.alias]

    @property
    def stats(self) -> PoolStats:
        found: PoolStats = self.connection.pool.stats()  # type: ignore[attr-defined]
        return found

    def close(self) -> None:
        """Close the pool: the next borrower gets a new session."""
        self.connection.pool.close()  # type: ignore[attr-defined]

    @contextmanager
    def borrowed(self) -> Iterator[Any]:
        self.connection.ensure_connection()
        try:
            yield self.connection
        finally:
            self.connection.close()

    def run(self, sql: Any, parameters: Any = None) -> None:
        """One borrower, one statement."""
        with self.borrowed() as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)

    def fetch(self, sql: Any, parameters: Any = None) -> Any:
        with self.borrowed() as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchone()[0]


def last_value(connection: Any, sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def fails_with(connection: Any, sql: str) -> int:
    """The number of the server's error; 0: it ran."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql)
        except Error as error:
            return int(error.args[0])
        with suppress(Error):
            cursor.fetchall()
    return 0
