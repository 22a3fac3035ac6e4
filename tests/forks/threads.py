"""What the threads of a process are in the middle of when it forks.

No frame refers to a connection meanwhile: they go through Django's thread-local ``connections``.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import Error, connections, transaction
from MySQLdb.cursors import SSCursor

PAUSE = 0.003  # seconds, at most
KEEP = 3  # units until a thread lets the next one have its connection
ROWS = 50
_local = threading.local()


@dataclass
class Record:
    """What one thread, or the process's children, did.

    :ivar committed: units of which the server has confirmed both rows.
    :ivar doubtful: those whose COMMIT ended with an error.
    """

    number: int
    committed: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)
    units: int = 0
    errors: list[str] = field(default_factory=list)


def write(number: int, unit: int) -> None:
    """One of the two rows of a unit."""
    with connections["default"].cursor() as cursor:
        cursor.execute("INSERT INTO fork_rows (thread, unit) VALUES (%s, %s)", [number, unit])


def write_twice(record: Record) -> None:
    """In a transaction, most of the time waiting between its statements."""
    wrote = False
    try:
        with transaction.atomic():
            write(record.number, record.units)
            time.sleep(random.random() * PAUSE)
            write(record.number, record.units)
            wrote = True
    except Error:
        if wrote:
            record.doubtful.add(record.units)
        raise
    record.committed.add(record.units)


def query_long(record: Record) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT SLEEP(%s), %s", [random.random() * PAUSE * 3, record.units])
        _expect(cursor.fetchone()[1], record.units)


def connect(record: Record) -> None:
    """Two threads do this, and their database has one connection, new each time."""
    with connections["fresh"].cursor() as cursor:
        cursor.execute("SELECT %s", [record.units])
        _expect(cursor.fetchone()[0], record.units)
    connections["fresh"].close()
    if hasattr(connections["fresh"], "pool"):
        connections["fresh"].pool.close()


def read_row_by_row(record: Record) -> None:
    """A result of which the server has still to send a part, and only a thread-local knows."""
    _local.rows = _rows(record.units)
    while (row := next(_local.rows, None)) is not None:
        time.sleep(random.random() * PAUSE / 10)
        _expect(row[0], record.units)


def _rows(unit: int) -> Iterator[Any]:
    connections["default"].ensure_connection()
    with connections["default"].connection.cursor(SSCursor) as cursor:
        cursor.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s)"
            " SELECT %s, REPEAT('x', 9999) FROM n",
            [ROWS, unit],
        )
        yield from cursor


def _expect(got: Any, expected: Any) -> None:
    if str(got) != str(expected):
        raise ValueError(f"the answer to another question: {got!r} instead of {expected!r}")


KINDS: list[Callable[[Record], None]] = [
    *[write_twice] * 4,
    query_long,
    *[connect] * 2,
    read_row_by_row,
]


def work(kind: Callable[[Record], None], record: Record, stop: threading.Event) -> None:
    while not stop.is_set():
        record.units += 1
        try:
            kind(record)
        except Exception as error:  # noqa: BLE001  # it is counted
            record.errors.append(f"{kind.__name__}: {type(error).__name__}: {error}")
            connections["default"].close()
        if record.units % KEEP == 0:
            connections["default"].close()
    connections.close_all()
