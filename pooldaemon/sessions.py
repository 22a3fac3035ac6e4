"""The sessions of a process on its servers, by their ids, and how those of others are killed.

Only MySQL and MariaDB have such ids; other databases are ignored.
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
    """A session on a server.

    :ivar alias: the alias of its database.
    :ivar number: its id on the server, as of ``CONNECTION_ID()``.
    :ivar port: the client's TCP port; 0 for a Unix socket.
    """

    alias: str
    number: int
    port: int


class SessionLog:
    """The sessions that this process opens from now on. One per process; thread-safe.

    :param opened: called with each new session, in the thread that has opened it.
    :param closed: called when a session's connection has been deleted, in any thread and, by the
        garbage collector, at any line.
    """

    def __init__(
        self, opened: Callable[[Session], object], closed: Callable[[Session], object]
    ) -> None:
        self._opened = opened
        self._closed = closed
        self._open: dict[Session, weakref.ref[Any]] = {}
        on_new_session(self._note)

    def held_by(self, thread: str) -> list[Session]:
        """The sessions that the thread of this name has borrowed from pools."""
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
    """Kill those of *sessions* that still exist, and belong to this account and host.

    For a process of its own without open pools: it opens one connection per database.

    Databases that are not configured any more, or have no sessions, are skipped.

    :param statement_only: kill only the statement that a session is running. Default: the session.
    :param noted: when they were written down, in seconds since 1970. Sessions of a server that has
        been restarted since then are skipped. Default: do not check.
    :returns: the sessions that still existed.
    :raises django.db.DatabaseError: a server does not answer, or refuses.
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
    """Use pools with these caps in the block, and close them afterwards."""
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
        # Not from information_schema.PROCESSLIST, which MySQL has deprecated.
        cursor.execute("SHOW PROCESSLIST")
        names = [column[0] for column in cursor.description]
        rows = {row["Id"]: row for row in (dict(zip(names, r, strict=True)) for r in cursor)}
        cursor.execute("SELECT CONNECTION_ID()")
        own = rows[cursor.fetchone()[0]]
        for session in sorted(sessions):
            # After a restart of the server, another client may have the id.
            if _is_ours(session, rows.get(session.number), own):
                try:
                    cursor.execute(f"KILL {what} {session.number:d}")
                except DatabaseError as error:  # the session has just ended
                    if error.args[0] != NO_SUCH_SESSION:
                        raise
                killed.append(session)
    return killed


def _is_ours(session: Session, row: Mapping[str, Any] | None, own: Mapping[str, Any]) -> bool:
    """Whether a row of the process list is this session: it has our account and host, and its
    port."""
    if row is None or row["User"] != own["User"]:
        return False
    (host, port), (own_host, _) = _address(row["Host"]), _address(own["Host"])
    return host == own_host and port == session.port


def _address(text: str) -> tuple[str, int]:
    """Split ``"10.0.0.5:40312"``; ``"localhost"``, of a Unix socket, has port 0."""
    host, _, port = text.rpartition(":")
    return (host, int(port)) if host else (port, 0)


def _server_start(cursor: Any) -> float:
    """When the server was started, in seconds since 1970; up to a second too late."""
    cursor.execute("SHOW GLOBAL STATUS LIKE 'Uptime'")
    return time.time() - int(cursor.fetchone()[1])


class ServerLimits(NamedTuple):
    """The cap of a database's pool, and the limits of its server.

    :ivar alias: the database's.
    :ivar server: the server's own host name and port: the same for all aliases of one server.
    :ivar account: the account on the server.
    :ivar pool: an id, equal for databases that share a pool.
    :ivar cap: the pool's cap; ``None``: it has none.
    :ivar max_connections: the server's limit.
    :ivar max_user_connections: the server's limit for the account; 0: none.
    """

    alias: str
    server: str
    account: str
    pool: int
    cap: int | None
    max_connections: int
    max_user_connections: int


def query_server_limits(aliases: Collection[str], limits: PerDatabase) -> Iterator[ServerLimits]:
    """Query the limits of the MySQL servers of these databases.

    Databases that are not pooled are skipped, and servers that do not answer.

    :param limits: caps for the pools, as of :func:`pooldaemon.connections.limit_connections`.
    """
    with _briefly(limits):
        for alias in aliases:
            # An error is logged by the first worker.
            with suppress(Exception), connections[alias].cursor() as cursor:
                cursor.execute(
                    "SELECT CONCAT(@@hostname, ':', @@port), CURRENT_USER(), "
                    "@@max_connections, @@max_user_connections"
                )
                server, account, *allowed = cursor.fetchone()
                if (pool := getattr(connections[alias], "pool", None)) is not None:
                    yield ServerLimits(alias, server, account, id(pool), pool.stats().cap, *allowed)
