"""The server sessions of a process by their numbers, and how those of another are ended.

Only MySQL and MariaDB have such numbers; other databases are passed over.
"""

from __future__ import annotations

import os
import socket
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from django.db import DatabaseError, connections

from pooldaemon.conf import ALL, PerDatabase
from pooldaemon.connections import (
    auto_close_db,
    close_pool,
    limit_connections,
    on_new_session,
    pool_stats,
)

NO_SUCH_SESSION = 1094


class Session(NamedTuple):
    """One session of a server.

    :ivar alias: of its database.
    :ivar number: that the server gave it.
    :ivar port: of our end of it; 0 if it has none.
    """

    alias: str
    number: int
    port: int


class SessionLog:
    """The sessions that this process has open, from now on. One per process; thread-safe.

    :param opened: called with each new session, in the thread that opened it.
    :param closed: called when its connection is gone, in any thread and at any moment.
    """

    def __init__(
        self, opened: Callable[[Session], object], closed: Callable[[Session], object]
    ) -> None:
        self._opened = opened
        self._closed = closed
        self._open: dict[Session, weakref.ref[Any]] = {}
        on_new_session(self._note)

    def held_by(self, thread: str) -> list[Session]:
        """The sessions that the thread of this name has borrowed from a pool."""
        held = {
            holder.session
            for pool in pool_stats()
            for holder in pool.holders
            if holder.thread == thread
        }
        return [session for session in list(self._open) if session.number in held]

    def _note(self, wrapper: Any, raw: Any) -> None:
        if wrapper.vendor != "mysql":
            return
        session = Session(wrapper.alias, raw.thread_id(), _port(raw.fileno()))

        def forget(_: object) -> None:
            self._open.pop(session, None)
            self._closed(session)

        self._open[session] = weakref.ref(raw, forget)
        self._opened(session)


def _port(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as duplicate:
        address = duplicate.getsockname()
    return address[1] if isinstance(address, tuple) else 0


def kill(
    sessions: Collection[Session], *, statement_only: bool = False, noted: float | None = None
) -> list[Session]:
    """End the *sessions*, as far as they are there and this account's from this host.

    For a process of its own, with no pool open: it opens one connection per database.

    :param statement_only: end what they run just now, not the sessions.
    :param noted: when they were noted, in seconds since 1970, if that was not just now. Those of a
        server that has been started since are passed over.
    :returns: those that were there. What is no database any more, or none with sessions, is passed
        over.
    :raises django.db.DatabaseError: the server can't be asked.
    """
    what = "QUERY" if statement_only else "CONNECTION"
    with _briefly({ALL: 1}):
        return [
            session
            for alias in sorted({session.alias for session in sessions} & set(connections))
            for session in _kill(alias, [s for s in sessions if s.alias == alias], what, noted)
        ]


@contextmanager
def _briefly(limits: PerDatabase) -> Iterator[None]:
    """Open pools, with these limits, and take leave of their servers."""
    limit_connections(limits)
    try:
        with auto_close_db():
            yield
    finally:
        close_pool()


def _kill(
    alias: str, sessions: Collection[Session], what: str, noted: float | None
) -> list[Session]:
    killed: list[Session] = []
    if connections[alias].vendor != "mysql":
        return killed
    with connections[alias].cursor() as cursor:
        if noted is not None and noted < _server_start(cursor):
            return []
        # Not from information_schema, which MySQL means to take away.
        cursor.execute("SHOW PROCESSLIST")
        names = [column[0] for column in cursor.description]
        rows = {row["Id"]: row for row in (dict(zip(names, r, strict=True)) for r in cursor)}
        cursor.execute("SELECT CONNECTION_ID()")
        own = rows[cursor.fetchone()[0]]
        for session in sorted(sessions):
            # After a restart of the server the number may be somebody else's.
            if _is_ours(session, rows.get(session.number), own):
                try:
                    cursor.execute(f"KILL {what} {session.number:d}")
                except DatabaseError as error:  # it has just ended by itself
                    if error.args[0] != NO_SUCH_SESSION:
                        raise
                killed.append(session)
    return killed


def _is_ours(session: Session, row: Mapping[str, Any] | None, own: Mapping[str, Any]) -> bool:
    """Whether a row of the processlist is this session: same account, host and port as we know."""
    if row is None or row["User"] != own["User"]:
        return False
    (host, port), (own_host, _) = _address(row["Host"]), _address(own["Host"])
    return host == own_host and port == session.port


def _address(text: str) -> tuple[str, int]:
    """``"10.0.0.5:40312"``, or ``"localhost"`` for a local socket."""
    host, _, port = text.rpartition(":")
    return (host, int(port)) if host else (port, 0)


def _server_start(cursor: Any) -> float:
    """In seconds since 1970, a second too late rather than too early."""
    cursor.execute("SHOW GLOBAL STATUS LIKE 'Uptime'")
    return time.time() - int(cursor.fetchone()[1])


class Room(NamedTuple):
    """What one database's pool may open, and what its server allows.

    :ivar server: names it, whatever host the settings say.
    :ivar pool: a number that databases have in common which share a pool.
    :ivar cap: of the pool; ``None``: it has none.
    :ivar max_user_connections: for the account; 0: no limit.
    """

    alias: str
    server: str
    account: str
    pool: int
    cap: int | None
    max_connections: int
    max_user_connections: int


def ask_for_room(aliases: Collection[str], limits: PerDatabase) -> Iterator[Room]:
    """Ask the MySQL servers of these databases, as far as they are pooled and answer.

    :param limits: of the pools, as for :func:`pooldaemon.connections.limit_connections`.
    """
    with _briefly(limits):
        for alias in aliases:
            # Whatever is wrong, the first worker tells it better.
            with suppress(Exception), connections[alias].cursor() as cursor:
                cursor.execute(
                    "SELECT CONCAT(@@hostname, ':', @@port), CURRENT_USER(), "
                    "@@max_connections, @@max_user_connections"
                )
                server, account, *allowed = cursor.fetchone()
                if (pool := getattr(connections[alias], "pool", None)) is not None:
                    yield Room(alias, server, account, id(pool), pool.stats().cap, *allowed)
