"""Where a pool's entries lie, how many there are, and what becomes of those that nobody uses."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy.pool import Pool

from pooldaemon.pool.drivers.base import DriverDialect
from pooldaemon.pool.queue.affinity import AffinityCache
from pooldaemon.pool.queue.borrowers import Borrower
from pooldaemon.pool.queue.counters import EntryStats
from pooldaemon.pool.queue.entry import EntryRef, PoolEntry
from pooldaemon.pool.queue.share import Queue
from pooldaemon.pool.tokens import TokenLock, clears_frames

logger = logging.getLogger("pooldaemon.pool")

DEFAULT_POOL_SIZE = 10

SWEEP_INTERVAL = 1.0
"""Seconds between looks for connections that have been idle for too long."""


class EntryPool(Pool):
    """Holds exactly *cap* entries, each one of SQLAlchemy's connection records.

    An entry is in one place at a time: idle (with a live connection), empty, or with a borrower.
    Who has it there, or on its way in between, is the only one to refer to it: the pool itself
    knows its entries by weak references. So one that an exception has lost at whatever line is
    dead, which the pool is told, and another one takes its place. The same holds for one whose
    borrower has lost it, or has ended, a thread, without giving back.

    Idle, empty and lost entries lie in deques, whose ``append`` and ``pop`` are atomic. So the
    usual borrow and return take no lock. Nothing here waits for one: the garbage collector may run
    finalizers that give back, or borrow, at any line.
    """

    def __init__(
        self,
        creator: Any,
        dialect: DriverDialect,
        *,
        pool_size: int,
        max_overflow: int,
        use_lifo: bool,
        max_idle: float,
        min_idle: int,
        keeps_affinity: bool,
        **kw: Any,
    ) -> None:
        super().__init__(creator, dialect=dialect, **kw)  # type: ignore[arg-type]
        self._make_clean = dialect.reset
        self._sessions = dialect
        self._limiter = dialect.limiter
        self._claims = dialect.limiter.queue
        self.cap = dialect.cap = pool_size + max_overflow
        self._keep = pool_size
        self._max_idle = max_idle
        self.min_idle = min(min_idle, self.cap)
        self._generation = object()
        self._next_sweep = 0.0
        self._surplus = False
        """There are more entries than the cap since it was made smaller."""
        self._retired = False
        self._dropped: list[EntryStats] = []
        """What happened to entries that are no more."""
        self._queue = Queue()
        self._waiters = self._queue.refs
        self._serving = TokenLock()
        """Held by whoever hands over."""
        self._counting = TokenLock()
        """Held by whoever changes how many entries there are."""
        self._affinity = AffinityCache(dialect.is_alive, self._queue, self._claims)
        self._keeps_affinity = keeps_affinity
        self._entries: dict[EntryRef, None] = {}
        self._idle: deque[PoolEntry] = deque()  # the longest idle one is on the left
        self._empty: deque[PoolEntry] = deque()
        self._orphans: deque[tuple[EntryRef, Borrower]] = deque()
        self._lost: deque[EntryRef] = deque()
        self._take_idle = self._idle.pop if use_lifo else self._idle.popleft
        for _ in range(self.cap):
            self._empty.append(self._new_entry())

    def _new_entry(self) -> PoolEntry:
        affinity = self._affinity if self._keeps_affinity else None
        entry = PoolEntry(
            self,
            self._make_clean,
            self._do_return_conn,
            self._take_in_orphan,
            self._lost.append,
            self._tell_waiter,
            affinity,
        )
        self._entries[entry.ref] = None
        return entry

    def _hand_over(self) -> None:
        """Give free entries to those who wait."""
        raise NotImplementedError

    @property
    def last_used(self) -> float:
        """When a connection was last lent or taken back (monotonic clock)."""
        times = [max(entry.held_since, entry.idle_since) for entry in self.entries]
        return max(times, default=0.0)

    @property
    def entries(self) -> Sequence[PoolEntry]:
        return tuple(entry for ref in self._entries.copy() if (entry := ref()) is not None)

    @property
    def name(self) -> str:
        return self._orig_logging_name or hex(id(self))

    # -- taking and putting -----------------------------------------------------------

    def _take(self, since: float) -> PoolEntry | None:
        """A free entry, rather one with a connection.

        :param since: when the borrower began to wait; it decides who gets the next permit.
        """
        try:
            return self._take_idle()
        except IndexError:
            return self._take_empty(since)

    def _take_empty(self, since: float) -> PoolEntry | None:
        """An entry without a connection, and with a permit to open one."""
        if not self._empty or (permit := self._limiter.take(since)) is None:
            return None
        try:
            entry = self._empty.popleft()
        except IndexError:  # another thread was quicker
            self._limiter.release(permit)
            return None
        entry.permit = permit
        return entry

    def _return_permit(self, entry: PoolEntry) -> None:
        """No connection will be opened."""
        permit, entry.permit = entry.permit, None
        if permit is not None:
            self._limiter.release(permit)

    def _put(self, entry: PoolEntry) -> None:
        if self._surplus and self._drop(entry):
            return
        self._lay(entry)
        if self._waiters:
            self._hand_over()

    def _lay(self, entry: PoolEntry) -> None:
        if entry.dbapi_connection is not None:
            self._idle.append(entry)
            return
        if entry.ref.session is not None:
            self._close_session(entry.ref, "lost")
        self._return_permit(entry)
        self._empty.append(entry)

    # -- entries whose thread has ended, and those that exceptions have lost ---------------

    def _take_in_orphan(self, ref: EntryRef, borrower: Borrower) -> None:
        # In the last moment of its thread: nothing that takes long.
        self._orphans.append((ref, borrower))
        self._tell_waiter(None)

    def _tell_waiter(self, _: object) -> None:
        """Something was lost: let the first one that waits put it in order."""
        if self._waiters and (waiter := self._queue.first()) is not None:
            waiter.wake()

    def _reclaim(self) -> None:
        self._affinity.call_in()
        if self._orphans or self._lost or len(self._entries) != self.cap:
            self._count_entries()

    def _count_entries(self) -> None:
        """Have as many entries as the cap: new ones for those that were lost."""
        if self._retired or (token := self._counting.take()) is None:
            return
        try:
            while self._orphans:
                ref, borrower = self._orphans[0]
                # Unless it has been given back meanwhile. In one step, which no exception can part.
                with suppress(KeyError):
                    self._lost.extend(map(borrower.entries.pop, (ref,)))
                self._orphans.popleft()
            while self._lost:
                lost = self._lost[0]  # it stays there until all is done
                self._bury(lost)
                self._lost.popleft()
            added = [self._new_entry() for _ in range(len(self._entries), self.cap)]
            self._surplus = len(self._entries) > self.cap
        finally:
            del token
        while added:
            self._put(added.pop())

    def _bury(self, lost: EntryRef) -> None:
        """Close the connection of an entry that is lost, or that a thread has left.

        The lease of the latter still points at its entry, which therefore is not used again.
        """
        if (orphan := lost()) is not None:
            self._tell_of_orphan(orphan)
        self._close_session(lost, "lost" if orphan is None else "thread ended")
        if lost in self._entries:  # else it is one that was to go
            self._dropped.append(lost.stats)
            self._entries.pop(lost, None)

    def _tell_of_orphan(self, orphan: PoolEntry) -> None:
        held = time.monotonic() - orphan.held_since
        orphan.stats.use.add(held)
        logger.warning(
            "pool %s: the thread %s has ended without giving back the connection that it borrowed "
            "at %s %.1f s ago. The connection is closed and its transaction rolled back. "
            "auto_close_db gives back in time.",
            self.name,
            orphan.holder and orphan.holder.name,
            orphan.where(),
            held,
        )

    def _close_session(self, ref: EntryRef, reason: str) -> None:
        """Close what was opened for an entry, whether it ever got there or not."""
        if (session := ref.session) is not None:
            ref.stats.discards[reason] += 1
            try:
                self._sessions.close_session(session)
            except Exception:
                logger.debug("Closing a connection failed", exc_info=True)
            ref.session = None

    # -- closing and resizing ---------------------------------------------------------

    @clears_frames
    def dispose(self) -> None:
        """Close idle connections now, and those in use when they come back.

        The entries and the queue stay, so that the cap holds while old connections are out.
        """
        self._generation = object()
        self._reclaim()
        self._sweep(time.monotonic())

    @clears_frames
    def resize(self, pool_size: int, max_overflow: int = 0) -> None:
        """Change the cap. A smaller one holds as soon as connections in use have come back."""
        self._sessions.cap = self.cap = pool_size + max_overflow
        self._keep = pool_size
        self._count_entries()
        self._affinity.call_in()
        while self._surplus and (free := self._take_surplus()) is not None:
            self._put(free)

    def _take_surplus(self) -> PoolEntry | None:
        """A free entry, rather an empty one, for dropping."""
        for entries in (self._empty, self._idle):
            try:
                return entries.popleft()
            except IndexError:
                continue
        return None

    def _drop(self, entry: PoolEntry) -> bool:
        """Take *entry* out of the pool, if there are still too many."""
        # Not waited for: an entry that stays is dropped at its next return.
        if (token := self._counting.take()) is None:
            return False
        try:
            if len(self._entries) > self.cap:
                self._dropped.append(entry.stats)
                self._entries.pop(entry.ref, None)
            self._surplus = len(self._entries) > self.cap
        finally:
            del token
        if entry.ref in self._entries:
            return False
        entry.drop("resized")
        return True

    def _sweep(self, now: float) -> None:
        """Close what has been idle for too long, or was made before the pool was closed."""
        while self._idle:
            try:
                if self._reason_to_sweep(self._idle[0], now, len(self._idle)) is None:
                    return
                entry = self._idle.popleft()
            except IndexError:
                return
            # Another thread may have taken the one we looked at: look again.
            if reason := self._reason_to_sweep(entry, now, len(self._idle) + 1):
                entry.drop(reason)
            self._put(entry)

    def _reason_to_sweep(self, entry: PoolEntry, now: float, idle: int) -> str | None:
        if entry.generation is not self._generation:
            return "pool closed"
        if 0 <= self._max_idle < now - entry.idle_since and idle > self.min_idle:
            return "idle"
        return None
