"""A thread-affinity cache: connections of transaction mode between two statements.

In transaction mode a unit would return its connection after each statement and borrow one for the
next. As long as nobody else wants the connection, that is wasted work. So it is parked here. Its
borrower resumes it if it is still here. A thread that finds no idle connection calls a parked one
in: it returns it to the pool in the borrower's place. (HikariCP's threads keep their last
connections in the same way, and other threads steal them.)

``pop`` and ``popitem`` of a dict are atomic. Whoever takes a lease out holds its only strong
reference, so its connection is returned even if an exception is raised in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Any

from pooldaemon.pool.queue.callsite import caller_unless_statement
from pooldaemon.pool.queue.lease import Lease, return_connection
from pooldaemon.pool.queue.time_slices import TimeSlices
from pooldaemon.pool.queue.waiters import WaitQueue

if TYPE_CHECKING:
    from pooldaemon.pool.queue.entry import PoolEntry

CURSOR_DEPTH = 8
"""Frames from the one that asks Django's wrapper for a cursor to :meth:`AffinityCache.resume`.
With a wrapper that adds a frame, call sites are found by a slower search."""

ALIVE_BYPASS = 0.5
"""Seconds for which a parked connection is used again without a check, which would take a system
call. (HikariCP bypasses its test for as long.)"""


class AffinityCache:
    """The parked connections of one pool. Thread-safe.

    :param is_alive: whether a connection can be used that has been idle for so many seconds.
    :param queue: of those who wait for a connection.
    :param claims: who waits for a permit of the process, in any pool.
    :param time_slices: during its time slice a borrower keeps its connection, although others wait.
    """

    def __init__(
        self,
        is_alive: Callable[[Any, float], bool],
        queue: WaitQueue,
        claims: Sized,
        time_slices: TimeSlices,
    ) -> None:
        self._is_alive = is_alive
        self._queue = queue
        self._waiters = queue.refs
        self._claims = claims
        self._time_slices = time_slices
        self._is_open = True
        # The entry must not refer to its lease: the two would keep each other alive.
        self._parked: dict[Lease, PoolEntry] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def park(self, lease: Lease, entry: PoolEntry) -> None:
        """End a borrow, but keep the connection for its borrower until somebody else needs it."""
        now = entry.idle_since = time.monotonic()
        entry.stats.use.add(now - entry.held_since)
        entry.parked = True
        self._parked[lease] = entry
        # A waiter enters the queue first and looks here afterwards: one of the two sees the other.
        if self._claims or not self._is_open:
            self.call_in()
        elif self._waiters and not self._time_slices.keeps(entry.holder, now):
            self.return_connection(lease)
            self.call_in_overdue()

    def leave(self, lease: Lease, entry: PoolEntry) -> None:
        """The same, but waiters are only woken and call the connection in themselves."""
        now = entry.idle_since = time.monotonic()
        entry.stats.use.add(now - entry.held_since)
        entry.parked = True
        self._parked[lease] = entry
        if (waiter := self._queue.first()) is not None:
            waiter.wake()

    def resume(self, lease: Lease) -> bool:
        """Continue the borrow. Returns ``False`` if the connection has been returned."""
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
            and (not self._waiters or self._time_slices.lasts(entry.holder, now))
            and (idle < ALIVE_BYPASS or self._is_alive(entry.dbapi_connection, idle))
        ):
            return True
        return_connection(lease)
        return False

    def return_connection(self, lease: Lease) -> bool:
        """Return the connection of *lease* to the pool; ``False`` if it is not here."""
        if self._parked.pop(lease, None) is None:
            return False
        return_connection(lease)
        return True

    def call_in_one(self) -> bool:
        """Return one to the pool; ``False`` if there is none."""
        try:
            lease, _ = self._parked.popitem()
        except KeyError:
            return False
        return_connection(lease)
        return True

    def call_in(self) -> None:
        """Return all to the pool. Hold no lock: one that the server has ended is closed here."""
        while self._parked and self.call_in_one():
            pass

    def call_in_overdue(self) -> None:
        """Return those to the pool whose borrowers have no time slice."""
        now = time.monotonic()
        for lease, entry in self._parked.copy().items():
            if not self._time_slices.lasts(entry.holder, now):
                self.return_connection(lease)

    def close(self) -> None:
        """Return all to the pool and park none until :meth:`reopen`."""
        self._is_open = False
        self.call_in()

    def reopen(self) -> None:
        self._is_open = True
