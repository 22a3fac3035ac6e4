"""Units of work under one tracing package; prints its spans as JSON. Runs in its own process."""

import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import django
import MySQLdb
from django.conf import settings
from django.db import Error, connection, transaction

from tests.tracing.tracers import TRACERS

ROUNDS = 3


def work(database: Any) -> None:
    """What has spans, on each kind of way to the server."""
    with database.cursor() as cursor:
        cursor.execute("SELECT %s + 1", [41])
        assert cursor.fetchall() == ((42,),)
    with transaction.atomic(), database.cursor() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s)", [(1,), (2,)])
        with transaction.atomic():
            cursor.execute("UPDATE t SET n = n + 1")
    transaction.set_autocommit(False)
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM t")
    transaction.rollback()
    transaction.set_autocommit(True)
    with database.chunked_cursor() as cursor:
        cursor.execute("SELECT n FROM t ORDER BY n")
        assert cursor.fetchone() == (2,)
        assert len(list(cursor)) > 0
    assert callable(database.connection.info)


def keep_handles(database: Any) -> tuple[Any, Any]:
    with database.cursor() as cursor:
        cursor.execute("SELECT 1")
        return database.connection, cursor


def is_dead(use: Callable[[], object]) -> bool:
    try:
        use()
    except (MySQLdb.Error, Error):
        return True
    return False


def main(tracer: str, database: dict[str, Any], *, pooled: bool) -> dict[str, Any]:
    settings.configure(DATABASES={"default": database}, INSTALLED_APPS=[])
    try:
        recording, spans = TRACERS[tracer]()
    except ImportError as error:
        return {"missing": str(error)}
    django.setup()

    def unit() -> None:
        with recording():
            work(connection)
        if pooled:
            connection.close()

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM t")
    unit()  # the spans of the session's set-up
    spans.clear()
    for _ in range(ROUNDS):
        unit()
    answer: dict[str, Any] = {
        "spans": [re.sub(r"`s\d+_", "`", each) for each in spans]
    }  # savepoints
    if pooled:
        handle, cursor = keep_handles(connection)
        connection.close()
        answer["kept handle is dead"] = is_dead(lambda: handle.query("SELECT 1"))
        answer["kept cursor is dead"] = is_dead(lambda: cursor.execute("SELECT 1"))
        stats = connection.pool.stats()
        answer["sessions"] = stats.connects
        answer["resets"] = stats.resets
    return answer


if __name__ == "__main__":
    tracer, entry, pooled = sys.argv[1:]
    sys.stdout.write(json.dumps(main(tracer, json.loads(entry), pooled=pooled == "pooled")))
    sys.stdout.flush()
    os._exit(0)  # some packages have threads that would try to send what is left
