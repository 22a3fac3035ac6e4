"""A connection of mysqlclient's without a server: it answers from memory.

What the pool and Django do with a connection can be counted with it, without what the server, the
network and the client library do.
"""

from __future__ import annotations

import socket
from typing import Any

import MySQLdb
import MySQLdb.connections

ONE = ((1,),)

_SETTINGS = (
    # Question of Django's or the pool's when a session is set up, and its row.
    ("VERSION()", ("10.11.6-MariaDB", "", "InnoDB", 0, 0, 1)),
    (
        "@@wait_timeout",
        ("shop", "utf8mb4", "utf8mb4_bin", "", 1, "READ-COMMITTED", None, 28800, ""),
    ),
)


class Connection:
    """Has of ``MySQLdb.connections.Connection`` what a session's set-up and a SELECT need."""

    open = True
    cursorclass = MySQLdb.cursors.Cursor
    encoding = "utf8"

    def __init__(self, **arguments: Any) -> None:
        self.encoders: dict[type, Any] = {}
        self._autocommit = False
        self._rows: tuple[Any, ...] | None = None
        # A real one, because the pool polls it. Nothing is ever sent.
        self._socket, self._peer = socket.socketpair()

    def query(self, statement: bytes | str) -> None:
        self._rows = ONE if statement == b"SELECT 1" else _rows_of(statement)

    def store_result(self) -> Result | None:
        rows, self._rows = self._rows, None
        return None if rows is None else Result(rows)

    def next_result(self) -> int:
        return -1

    def more_results(self) -> bool:
        return False

    def affected_rows(self) -> int:
        return 1

    def field_count(self) -> int:
        return 1

    def insert_id(self) -> int:
        return 0

    def warning_count(self) -> int:
        return 0

    def errno(self) -> int:
        return 0

    def get_server_info(self) -> str:
        return "10.11.6-MariaDB"

    def character_set_name(self) -> str:
        return "utf8mb4"

    def thread_id(self) -> int:
        return 1

    def fileno(self) -> int:
        return self._socket.fileno()

    def get_autocommit(self) -> bool:
        return self._autocommit

    def autocommit(self, on: bool) -> None:
        self._autocommit = bool(on)

    def rollback(self) -> None:
        """There is nothing to roll back."""

    def close(self) -> None:
        self._socket.close()
        self._peer.close()


class Result:
    """A stored result of one column."""

    def __init__(self, rows: tuple[Any, ...]) -> None:
        self._rows = rows

    def describe(self) -> tuple[tuple[Any, ...], ...]:
        return (("1", 8, 1, 1, 1, 0, 0),)

    def field_flags(self) -> tuple[int, ...]:
        return (0,)

    def fetch_row(self, most: int = 1, how: int = 0) -> tuple[Any, ...]:
        rows, self._rows = self._rows, ()
        return rows

    def discard(self) -> None:
        self._rows = ()


def _rows_of(statement: bytes | str) -> tuple[Any, ...] | None:
    text = statement if isinstance(statement, str) else statement.decode()
    if not text.lstrip().startswith("SELECT"):
        return None
    return next(((row,) for part, row in _SETTINGS if part in text), ())


def install() -> None:
    """Have ``MySQLdb.connect()`` return these connections. Before the pool is imported, which makes
    a subclass of the driver's connection."""
    MySQLdb.connections.Connection = Connection
