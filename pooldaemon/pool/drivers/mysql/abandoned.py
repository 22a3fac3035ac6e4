"""Sessions that the server may still have, because it could not be notified of their end.

A connection that was given up during a network failure leaves its session on the server, with the
locks of its transaction: for hours, if the server has nothing to send on it. So the next session
that the pool opens kills it.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import NamedTuple

import MySQLdb

from pooldaemon.pool.drivers.mysql.connection import PooledConnection


class Abandoned(NamedTuple):
    """
    :ivar number: the session's number on the server.
    :ivar port: the local port of its connection.
    """

    number: int
    port: int


class AbandonedSessions:
    """The abandoned sessions of one pool. Thread-safe."""

    def __init__(self) -> None:
        self._sessions: deque[Abandoned] = deque()

    def add(self, session: Abandoned) -> None:
        if session.port:  # a local socket has none, so the session can't be recognised
            self._sessions.append(session)

    def end(self, connection: PooledConnection) -> None:
        """Kill them on *connection*.

        :raises MySQLdb.Error: the list of sessions can't be read.
        """
        sessions: list[Abandoned] = []
        with suppress(IndexError):
            while True:
                sessions.append(self._sessions.popleft())
        if not sessions:
            return
        # information_schema.processlist is deprecated in MySQL.
        rows = connection.rows_of("SHOW PROCESSLIST")
        listed = {row[0]: (_text(row[1]), *_address(_text(row[2]))) for row in rows}
        if connection.session not in listed:  # a proxy has given it another number
            return
        user, host, _ = listed[connection.session]
        for number, port in sessions:
            # After a restart of the server the number may belong to another session.
            if listed.get(number) == (user, host, port):
                with suppress(MySQLdb.Error):  # it has just ended by itself
                    connection.ask_aside(f"KILL {number:d}")


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _address(text: str) -> tuple[str, int]:
    """``"10.0.0.5:40312"``, or ``"localhost"`` for a local socket."""
    host, _, port = text.rpartition(":")
    return (host, int(port)) if host and port.isdigit() else (text, 0)
