"""Sessions that the server may still have, because nothing could tell it that they are over.

A connection that was given up during a network failure leaves its session on the server, with the
locks of its transaction: for hours, if the server has nothing to send on it. So the next session
that is opened ends them.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import NamedTuple

import MySQLdb

from pooldaemon.pool.drivers.mysql.connection import PooledConnection


class Abandoned(NamedTuple):
    """
    :ivar number: the server's, of the session.
    :ivar port: of our end of it.
    """

    number: int
    port: int


class AbandonedSessions:
    """Those of one pool. Thread-safe."""

    def __init__(self) -> None:
        self._sessions: deque[Abandoned] = deque()

    def add(self, session: Abandoned) -> None:
        if session.port:  # else it has none by which it could be recognised
            self._sessions.append(session)

    def end(self, connection: PooledConnection) -> None:
        """Ask the server, by *connection*, to end them.

        :raises MySQLdb.Error: it can't be asked.
        """
        sessions: list[Abandoned] = []
        with suppress(IndexError):
            while True:
                sessions.append(self._sessions.popleft())
        if not sessions:
            return
        # Not from information_schema, which MySQL means to take away.
        rows = connection.rows_of("SHOW PROCESSLIST")
        listed = {row[0]: (_text(row[1]), *_address(_text(row[2]))) for row in rows}
        if connection.session not in listed:  # its number is a proxy's
            return
        user, host, _ = listed[connection.session]
        for number, port in sessions:
            # After a restart of the server the number may be somebody else's.
            if listed.get(number) == (user, host, port):
                with suppress(MySQLdb.Error):  # it has just ended by itself
                    connection.ask_aside(f"KILL {number:d}")


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _address(text: str) -> tuple[str, int]:
    """``"10.0.0.5:40312"``, or ``"localhost"`` for a local socket."""
    host, _, port = text.rpartition(":")
    return (host, int(port)) if host and port.isdigit() else (text, 0)
