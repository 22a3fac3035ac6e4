"""The server sessions of a process by their numbers, and how those of another are ended.

Only MySQL and MariaDB have such numbers; other databases are passed over.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Mapping
from typing import Any

from django.db import DatabaseError, connections
from django.db.backends.signals import connection_created

from pooldaemon.connections import auto_close_db, limit_connections, physical, pool_stats

NO_SUCH_SESSION = 1094

Session = tuple[str, int]
"""The alias of its database, and the number that the server gave it."""


class SessionLog:
    """The sessions that this process has open, from now on. One per process; thread-safe.

    :param opened: called with each new session, in the thread that opened it.
    :param closed: called when its connection is gone, in any thread and at any moment.
    """

    def __init__(
        self, opened: Callable[[str, int], None], closed: Callable[[str, int], None]
    ) -> None:
        self._opened = opened
        self._closed = closed
        self._open: dict[Session, weakref.ref[Any]] = {}
        connection_created.connect(self._note, dispatch_uid="pooldaemon.sessions")

    def held_by(self, thread: str) -> list[Session]:
        """The sessions that the thread of this name has borrowed from a pool."""
        held = {
            holder.session
            for pool in pool_stats()
            for holder in pool.holders
            if holder.thread == thread
        }
        return [session for session in list(self._open) if session[1] in held]

    def _note(self, connection: Any, **kwargs: Any) -> None:
        if connection.vendor != "mysql":
            return
        session = connection.alias, connection.connection.thread_id()

        def forget(_: object) -> None:
            self._open.pop(session, None)
            self._closed(*session)

        self._open[session] = weakref.ref(physical(connection), forget)
        self._opened(*session)


def kill(sessions: Collection[Session], *, statement_only: bool = False) -> list[Session]:
    """End the *sessions*, as far as they are there and this account's from this host.

    For a process of its own, with no pool open: it opens one connection per database.

    :param statement_only: end what they run just now, not the sessions.
    :returns: those that were there.
    :raises django.db.DatabaseError: the server can't be asked.
    """
    by_alias: dict[str, set[int]] = {}
    for alias, number in sessions:
        by_alias.setdefault(alias, set()).add(number)
    limit_connections(1)
    with auto_close_db():
        return [
            (alias, number)
            for alias, numbers in by_alias.items()
            for number in _kill(alias, numbers, "QUERY" if statement_only else "CONNECTION")
        ]


def _kill(alias: str, numbers: Collection[int], what: str) -> list[int]:
    killed = []
    with connections[alias].cursor() as cursor:
        # Not from information_schema, which MySQL means to take away.
        cursor.execute("SHOW PROCESSLIST")
        names = [column[0] for column in cursor.description]
        rows = {row["Id"]: row for row in (dict(zip(names, r, strict=True)) for r in cursor)}
        cursor.execute("SELECT CONNECTION_ID()")
        owner = _owner(rows[cursor.fetchone()[0]])
        for number in sorted(numbers):
            # After a restart of the server the number may be somebody else's.
            if number in rows and _owner(rows[number]) == owner:
                try:
                    cursor.execute(f"KILL {what} {number:d}")
                except DatabaseError as error:  # it has just ended by itself
                    if error.args[0] != NO_SUCH_SESSION:
                        raise
                killed.append(number)
    return killed


def _owner(row: Mapping[str, Any]) -> tuple[str, str]:
    host, _, port = row["Host"].rpartition(":")
    return row["User"], host or port


def server_limits(alias: str, maximum: int | None) -> tuple[str, int | None, str, int]:
    """What a MySQL server allows beside what this process' pool may open, if limited to *maximum*.

    :returns: the alias, the pool's cap (``None``: it has none), the server variable that is the
        tightest, and its value.
    :raises django.db.DatabaseError: the server can't be asked.
    """
    limit_connections(maximum)
    with auto_close_db(), connections[alias].cursor() as cursor:
        cursor.execute("SELECT @@max_connections, @@max_user_connections")
        of_server, of_account = cursor.fetchone()
    pool = getattr(connections[alias], "pool", None)
    cap = pool.stats().cap if pool else None
    if 0 < of_account < of_server:  # 0: no limit
        return alias, cap, "max_user_connections", of_account
    return alias, cap, "max_connections", of_server
