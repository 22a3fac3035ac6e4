"""Short words for what these tests do with a database."""

from typing import Any

from django.db import connections

from pooldaemon.stats import PoolStats


def run(alias: str, sql: str, parameters: Any = None) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)


def fetch(alias: str, sql: str, parameters: Any = None) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


def session_id(alias: str) -> int:
    number: int = fetch(alias, "SELECT CONNECTION_ID()")
    return number


def return_connection(alias: str) -> None:
    connections[alias].close()


def stats(alias: str) -> PoolStats:
    found: PoolStats = connections[alias].pool.stats()  # type: ignore[attr-defined]
    return found
