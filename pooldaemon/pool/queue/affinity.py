"""Connections that a unit of work does not need just now, and may need again in a moment.

In transaction mode a unit gives its connection back after each statement and borrows one for the
next. As long as nobody else wants it, that is work for nothing. So the connection is parked: its
borrower resumes it if it is still there, and whoever finds no idle one calls it in, which gives it
back in the borrower's name. (HikariCP's threads find their last connections in the same way, and
other threads steal them.)

A dict's ``pop`` and ``popitem`` are atomic: who takes one out is the only one to touch it, and the
only one to refer to its lease, so that it is not lost if an exception is raised in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from typing import Any

from pooldaemon.pool.queue.callsite import caller_unless_statement
from pooldaemon.pool.queue.entry import PoolEntry
from pooldaemon.pool.queue.lease import Lease, give_back
from pooldaemon.pool.queue.waiters import WaitQueue

CURSOR_DEPTH = 8
"""Frames from the one that asks Django's wrapper for a cursor to :meth:`AffinityCache.resume`.
Where a wrapper adds one, places are just found the long way."""

ALIVE_BYPASS = 0.5
"""Seconds for which a parked connection is believed to live: until then its borrower goes on as on
a connection that it kept. To look takes a system call. (HikariCP bypasses its test for as long.)"""


class AffinityCache:
    """The parked connections of one pool. Thread-safe.

    :param is_alive: whether a connection can be used that has been idle for so many seconds.
    :param queue: of those who wait for a connection.
    :param claims: those who wait for a permit to open one, in whatever pool.
    """

    def __init__(
        self, is_alive: Callable[[Any, float], bool], queue: WaitQueue, claims: Sized
    ) -> None:
        self._is_alive = is_alive
        self._queue = queue
        self._waiters = queue.refs
        self._claims = claims
        self._is_open = True
        # The entry itself may not refer to its lease: the two would keep each other alive.
        self._parked: dict[Lease, PoolEntry] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def park(self, lease: Lease, entry: PoolEntry) -> None:
        """End a borrow; it may go on until somebody else needs the connection."""
        now = entry.idle_since = time.monotonic()
        entry.stats.use.add(now - entry.held_since)
        entry.parked = True
        self._parked[lease] = entry
        # Who comes to wait looks here once it can be seen to wait: one of the two finds the other.
        if self._waiters or self._claims or not self._is_open:
            self.call_in()

    def leave(self, lease: Lease, entry: PoolEntry) -> None:
        """The same, but those who wait are only woken, and see to it themselves."""
        now = entry.idle_since = time.monotonic()
        entry.stats.use.add(now - entry.held_since)
        entry.parked = True
        self._parked[lease] = entry
        if (waiter := self._queue.first()) is not None:
            waiter.wake()

    def resume(self, lease: Lease) -> bool:
        """Begin the borrow anew. ``False``: the connection has been given back."""
        entry = self._parked.pop(lease, None)
        if entry is None:
            return False
        now = time.monotonic()
        entry.parked = False
        entry.held_since, entry.call_site = now, caller_unless_statement(3, CURSOR_DEPTH)
        idle = now - entry.idle_since
        if (
            now < entry.expires
            and self._is_open
            and (idle < ALIVE_BYPASS or self._is_alive(entry.dbapi_connection, idle))
        ):
            return True
        give_back(lease)
        return False

    def give_back(self, lease: Lease) -> bool:
        """Give the connection of *lease* back. ``False``: it is not here, or no more."""
        if self._parked.pop(lease, None) is None:
            return False
        give_back(lease)
        return True

    def call_in_one(self) -> bool:
        """Have one given back; ``False``: there is none."""
        try:
            lease, _ = self._parked.popitem()
        except KeyError:
            return False
        give_back(lease)
        return True

    def call_in(self) -> None:
        """Have all given back. Not under a pool's lock: one that the server has ended is closed."""
        while self._parked and self.call_in_one():
            pass

    def close(self) -> None:
        """Have all given back, now and until :meth:`reopen`."""
        self._is_open = False
        self.call_in()

    def reopen(self) -> None:
        self._is_open = True
