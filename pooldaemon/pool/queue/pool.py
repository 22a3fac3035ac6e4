"""The default pool: a hard cap on connections, and borrowers served in order of arrival.

Free entries lie in deques, whose ``append`` and ``pop`` are atomic, so a usual borrow and a usual
return take no lock. Nothing here waits for a lock either: the garbage collector may run a
finalizer that borrows or returns a connection at any line, in a thread that holds one.

Each waiter sleeps on a lock of its own, which whoever hands it an entry releases. So a hand-over
wakes exactly one thread, the one that has waited longest.
"""

from __future__ import annotations

import logging
import random
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy.pool import Pool

from pooldaemon.conf import DEFAULT_POOL_SIZE
from pooldaemon.exceptions import (
    PoolDeadlock,
    PoolRetired,
    PoolTimeout,
    PoolWaitCancelled,
    TooManyWaiters,
)
from pooldaemon.pool.queue.affinity import AffinityCache
from pooldaemon.pool.queue.borrowers import Borrower, here
from pooldaemon.pool.queue.callsite import caller
from pooldaemon.pool.queue.cancellation import waiting
from pooldaemon.pool.queue.driver import Driver
from pooldaemon.pool.queue.entry import EntryRef, PoolEntry
from pooldaemon.pool.queue.entry_set import EntrySet
from pooldaemon.pool.queue.errors import deadlock, timed_out
from pooldaemon.pool.queue.leaks import LeakWatch
from pooldaemon.pool.queue.lease import Lease
from pooldaemon.pool.queue.limiter import PoolLimiter
from pooldaemon.pool.queue.stats import take_snapshot
from pooldaemon.pool.queue.time_slices import TimeSlices
from pooldaemon.pool.queue.upkeep import Upkeep
from pooldaemon.pool.queue.waiters import Waiter, WaitQueue
from pooldaemon.pool.tokens import TokenLock, clear_frames, clears_frames
from pooldaemon.stats import PoolStats

logger = logging.getLogger("pooldaemon.pool")

SWEEP_INTERVAL = 1.0
"""Seconds between looks for connections that have been idle for too long."""

GRACE = 0.01
"""Seconds to wait for a thread that is about to hand over an entry and only has to say so."""

UPKEEP_PATIENCE = 0.1
"""Seconds that a borrower waits for the connection on which there is upkeep, before it opens
another one. Such work is meant to take 0.02; on a busy machine it may take this long, and so may
opening."""

RECYCLE_JITTER = 0.1
"""A connection's lifetime is shortened by up to this share, so that connections made together
do not all reconnect together (HikariCP varies ``maxLifetime`` in the same way)."""


class FairQueuePool(Pool):
    """At most ``pool_size + max_overflow`` connections, handed out in order of arrival.

    :param dialect: what to ask of the driver.
    :param pool_size: connections kept open when idle, 1 or more.
    :param max_overflow: connections above that under load, closed when they are returned.
    :param timeout: seconds a borrower waits for an entry and for the server to accept it.
    :param use_lifo: hand out the most recently used idle connection first, so that the
        others can age out.
    :param max_waiting: longest queue; a further borrower fails at once. ``None``: no limit.
    :param max_idle: seconds after which an idle connection is closed; -1: never. There is
        no background thread: it is looked at when a connection is returned.
    :param min_idle: so many connections are opened with the first one and stay open however
        long they idle.
    :param leak_threshold: seconds after which a connection that is still borrowed is logged.
        ``None``: never.

    Thread-safe. A forked child makes its own. The remaining arguments are those of
    :class:`sqlalchemy.pool.Pool`.

    The pool has exactly as many entries as its cap, each one of SQLAlchemy's connection records.
    An entry is in one place at a time: idle (with a live connection), empty, or with a borrower.
    Whoever has it holds the only strong reference; the pool knows its entries by weak references.
    So an entry that an exception has lost, at whatever line, dies at once, and the pool notices and
    makes another one. The same is done for an entry whose thread ended without returning it.
    """

    def __init__(  # noqa: PLR0913 - they are a pool's settings, all with defaults
        self,
        creator: Any,
        dialect: Driver,
        *,
        pool_size: int = DEFAULT_POOL_SIZE,
        max_overflow: int = 0,
        timeout: float = 30.0,
        use_lifo: bool = True,
        max_waiting: int | None = None,
        max_idle: float = -1,
        min_idle: int = 0,
        leak_threshold: float | None = None,
        **kw: Any,
    ) -> None:
        super().__init__(creator, dialect=dialect, **kw)  # type: ignore[arg-type]
        self._sessions = dialect
        self._make_clean = dialect.reset
        self._is_alive = dialect.is_alive
        self._lease_class = dialect.lease_class
        self._limiter = dialect.limiter
        self._claims = dialect.limiter.queue
        dialect.cap = pool_size + max_overflow
        self._keep = pool_size
        self._timeout = timeout
        self._max_waiting = max_waiting
        self._max_idle = max_idle
        self.min_idle = min(min_idle, dialect.cap)
        self._count_from_zero()
        self._queue = WaitQueue()
        self._waiters = self._queue.refs
        self._time_slices = TimeSlices(self._queue)
        self._make_entries(dialect.cap, use_lifo=use_lifo, affinity=leak_threshold is None)
        self._upkeep = Upkeep(self._return_after_upkeep)
        self._pool_limiter = dialect.reserve = PoolLimiter(
            self._limiter, self._idle, self._empty, self._queue,
            serve=self._hand_over, put=self._put, reclaim=self._reclaim,
        )  # fmt: skip
        self._leaks = None
        if leak_threshold is not None:
            self._leaks = LeakWatch(leak_threshold, self, dialect.last_statement)

    def _count_from_zero(self) -> None:
        self._timeouts = self._rejected = self._connect_errors = 0
        self._last_connect_error: BaseException | None = None

    def _make_entries(self, cap: int, *, use_lifo: bool, affinity: bool) -> None:
        """
        :param affinity: whether to park connections. The leak watch has to see every return,
            so with it none is parked.
        """
        self._generation = object()
        self._next_sweep = 0.0
        self._retired = False
        self._serving = TokenLock()
        """Held by whoever hands over."""
        self._affinity = AffinityCache(self._is_alive, self._queue, self._claims, self._time_slices)
        self._keeps_affinity = affinity
        self._entries = EntrySet(
            self.name, cap, self._sessions,
            make=self._new_entry, put=self._put, wake=self._wake_first_waiter,
        )  # fmt: skip
        self._idle: deque[PoolEntry] = deque()  # the longest idle one is on the left
        self._empty: deque[PoolEntry] = deque()
        self._take_idle = self._idle.pop if use_lifo else self._idle.popleft
        for _ in range(cap):
            self._empty.append(self._entries.add())

    def _new_entry(
        self,
        report_orphan: Callable[[EntryRef, Borrower], None],
        report_loss: Callable[[EntryRef], None],
    ) -> PoolEntry:
        return PoolEntry(
            self,
            self._make_clean,
            self._do_return_conn,
            report_orphan,
            report_loss,
            self._wake_first_waiter,
            self._affinity if self._keeps_affinity else None,
        )

    @property
    def cap(self) -> int:
        return self._entries.cap

    @property
    def entries(self) -> Sequence[PoolEntry]:
        return self._entries.all()

    @property
    def name(self) -> str:
        return self._orig_logging_name or hex(id(self))

    # -- borrowing -----------------------------------------------------------------------

    def borrow(self) -> Lease:
        """Like ``connect()``, without the cost of SQLAlchemy's proxy and its events.

        :raises PoolTimeout: no connection became free in time.
        :raises TooManyWaiters: the queue is full.
        :raises PoolRetired: see :meth:`retire`.
        """
        try:
            entry = self._do_get()
            entry.call_site = caller(1)
            if entry.dbapi_connection is None:
                self._connect(entry)
            if self._leaks is not None:
                self._leaks.watch()
            return self._lease_class(entry.dbapi_connection, entry)
        except BaseException as error:
            entry = None
            clear_frames(error)
            raise

    def _do_get(self) -> PoolEntry:
        started = now = time.monotonic()
        borrower = here.borrower
        if not self._idle:
            self._await_idle()
            now = time.monotonic()
        entry = self._take_at_once(borrower, started)
        if entry is None:
            entry = self._wait(started, borrower)
            now = time.monotonic()
            self._time_slices.begin(borrower, now)
            entry.stats.wait.add(now - started)
        entry.holder, entry.held_since = borrower, now
        borrower.entries[entry.ref] = entry.ref
        try:
            if entry.dbapi_connection is None:
                pass
            elif entry.generation is not self._generation:
                entry.drop("pool closed")
            elif now >= entry.expires:
                entry.drop("expired")
            elif not self._is_alive(entry.dbapi_connection, now - entry.idle_since):
                entry.drop("dead")
        except BaseException:  # perhaps a signal handler's, during the ping of the server
            entry.drop("dead")
            self._return_unused(entry)
            raise
        if entry.dbapi_connection is None:
            entry.since, entry.deadline = started, started + self._timeout
            self._prepare_connect(entry, now)
        return entry

    def _await_idle(self) -> None:
        """Get an idle connection that nobody needs, rather than open another one."""
        if self._waiters:
            return
        if self._affinity:
            self._affinity.call_in_one()
        elif self._empty:
            self._upkeep.wait(UPKEEP_PATIENCE)

    def _take_at_once(self, borrower: Borrower, now: float) -> PoolEntry | None:
        if not self._waiters:
            return self._take(now)
        # Waiters came earlier: a newcomer may not overtake them, even if an entry is free.
        if self._time_slices.lasts(borrower, now) and not self._pool_limiter.paused:
            with suppress(IndexError):
                return self._take_idle()
        return None

    def _take(self, since: float) -> PoolEntry | None:
        """A free entry, preferably with a connection.

        :param since: when the borrower began to wait. It decides who gets the next permit.
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
        """The entry's permit is not needed: no connection will be opened."""
        permit, entry.permit = entry.permit, None
        if permit is not None:
            self._limiter.release(permit)

    def _prepare_connect(self, entry: PoolEntry, now: float) -> None:
        self._reclaim()
        entry.generation = self._generation
        lifetime = self._recycle * (1 - RECYCLE_JITTER * random.random())
        entry.expires = now + lifetime if self._recycle >= 0 else float("inf")

    def _connect(self, entry: PoolEntry) -> None:
        try:
            entry.connect()
        except PoolTimeout as failure:
            failure.stats = self.stats()
            self._return_unused(entry)
            raise
        except Exception as failure:
            self._connect_errors += 1
            self._last_connect_error = failure.with_traceback(None)
            self._return_unused(entry)
            raise
        except BaseException:
            self._return_unused(entry)
            raise
        self._last_connect_error = None  # it would mislead the reader of a later timeout

    # -- waiting -------------------------------------------------------------------------

    def _wait(self, started: float, borrower: Borrower) -> PoolEntry:
        waiter = Waiter(borrower, started)
        self._queue.add(waiter)
        try:
            self._check_wait(waiter)
            self._pool_limiter.claim()
            self._hand_over()  # an entry may have been returned just before we stood in the queue
            if waiter.entry is None:
                self._reclaim()
                with waiting(partial(self._cancel, weakref.ref(waiter))):
                    self._pool_limiter.sleep(waiter, self._timeout, self._look)
        except BaseException:  # KeyboardInterrupt and the like: leave the queue in order
            if (entry := self._leave(waiter)) is not None:
                self._put(entry)
            raise
        if (entry := self._leave(waiter)) is None:
            if waiter.cancelled:
                raise PoolWaitCancelled(
                    f"pool {self.name}: the wait for a connection was cancelled"
                )
            raise self._timed_out(time.monotonic() - started)
        return entry

    def _check_wait(self, waiter: Waiter) -> None:
        """Raise if waiting makes no sense. *waiter* is in the queue already, so others see it."""
        borrower, most = waiter.borrower, self._max_waiting
        if self._retired:
            raise PoolRetired(self.name)
        if most is not None and len(self._queue.up_to(waiter)) > most:
            # If an entry has become free just now, the waiter gets it and is not refused.
            self._hand_over()
            if waiter.entry is None and self._queue.remove(waiter):
                self._rejected += 1
                raise TooManyWaiters(f"{self.status()}: the queue is full (max_waiting={most})")
        if borrower.entries and self._would_deadlock(waiter):
            raise self._deadlock()

    def _look(self, waiter: Waiter) -> None:
        """Repair what an exception elsewhere may have left: see :mod:`pooldaemon.pool.tokens`."""
        if waiter not in self._queue and waiter.is_waiting():
            # A thread took it out to serve it, and was interrupted or is about to do so.
            waiter.signal.acquire(timeout=GRACE)
            if waiter.is_waiting():
                self._queue.restore(waiter)
        if self._retired:
            raise PoolRetired(self.name)
        self._reclaim()
        self._pool_limiter.claim()
        self._hand_over()

    def _leave(self, waiter: Waiter) -> PoolEntry | None:
        """Leave the queue; returns the entry that was handed over, if any."""
        if waiter.entry is None and not self._queue.remove(waiter) and waiter.is_waiting():
            waiter.signal.acquire(timeout=GRACE)  # it is being served in this moment
        if not self._waiters:
            self._pool_limiter.renounce()
        elif waiter.entry is None:
            self._hand_over()
        return waiter.entry

    def _cancel(self, waiting: weakref.ref[Waiter]) -> None:
        """End the wait of a waiter, if it still waits. Called from another thread."""
        if (waiter := waiting()) is not None and self._queue.remove(waiter):
            waiter.cancelled = True
            waiter.wake()

    def _would_deadlock(self, waiter: Waiter) -> bool:
        """Whether all connections are held by threads that wait for one."""
        waiter.borrower.forget_lost()
        if self._pool_limiter.lacks_permit():
            return self._limiter.would_deadlock(waiter.borrower)
        # Only up to this waiter: those behind it look too, so that one of them gets the error.
        waiting = {one.borrower for one in self._queue.up_to(waiter)}
        entries = self.entries
        return len(entries) >= self.cap and all(entry.holder in waiting for entry in entries)

    def _hand_over(self) -> None:
        """Give free entries to the waiters, longest waiting first."""
        # The lock is not waited for: its holder looks again after releasing it.
        while (
            self._waiters
            and not self._pool_limiter.paused
            and self._pool_limiter.can_serve()
            and (token := self._serving.take()) is not None
        ):
            waiter = entry = None
            try:
                while (waiter := self._queue.first()) is not None:
                    if (entry := self._take(waiter.since)) is None:
                        break
                    if self._queue.remove(waiter):
                        waiter.entry = entry
                        waiter.wake()
                    else:  # it has left
                        self._lay_down(entry)
                    entry = None
                else:
                    self._pool_limiter.renounce()
            except BaseException:
                if waiter is not None:
                    waiter.wake()  # so that it looks whether it was served
                raise
            finally:
                waiter = entry = None
                del token

    # -- returning -----------------------------------------------------------------------

    def _return_unused(self, entry: PoolEntry) -> None:
        entry.claim_from(entry.holder)
        self._do_return_conn(entry)

    def _do_return_conn(self, record: Any) -> None:
        entry: PoolEntry = record
        now = entry.idle_since = time.monotonic()
        if not entry.parked:
            entry.stats.use.add(now - entry.held_since)
        entry.parked = False
        if self._leaks is not None:
            self._leaks.returned(entry, now)
        borrower = entry.holder
        entry.holder = entry.call_site = None
        if getattr(entry.dbapi_connection, "broken", False):
            entry.drop("broken")
        elif entry.generation is not self._generation:
            entry.drop("pool closed")
        elif len(self._idle) >= self._keep and not self._waiters:
            # Above pool_size only waiters justify keeping a connection open.
            entry.drop("overflow")
        elif self._claims and self._pool_limiter.is_owed():
            entry.drop("process limit")
        if now < self._next_sweep:
            self._put(entry, borrower if entry.dbapi_connection else None, now)
        else:
            self._next_sweep = now + SWEEP_INTERVAL
            self._put_after_upkeep(entry, now)
            self._reclaim()
            self._sweep(now)

    def _put_after_upkeep(self, entry: PoolEntry, now: float) -> None:
        """Put *entry* back. If there is upkeep to do, it is done on its connection before."""
        connection = entry.dbapi_connection
        work = None if connection is None else self._sessions.upkeep(connection, now)
        if getattr(connection, "broken", False):
            entry.drop("broken")
        if work is None or not self._upkeep.run(work, entry):
            self._put(entry)

    def _return_after_upkeep(self, entry: PoolEntry, more: bool) -> None:
        entry.idle_since = now = time.monotonic()
        if getattr(entry.dbapi_connection, "broken", False):
            entry.drop("broken")
        elif entry.generation is not self._generation:
            entry.drop("pool closed")
        if more:  # soon
            self._next_sweep = now
        self._put(entry)

    def _put(self, entry: PoolEntry, borrower: Borrower | None = None, now: float = 0.0) -> None:
        """Put *entry* back, and serve those who wait.

        :param borrower: who returns it at *now*, and may keep it within reach.
        """
        if self._entries.surplus and self._entries.drop_surplus(entry):
            return
        self._lay_down(entry)
        if self._waiters and not self._time_slices.keeps(borrower, now):
            self._hand_over()

    def _lay_down(self, entry: PoolEntry) -> None:
        if entry.dbapi_connection is not None:
            self._idle.append(entry)
            return
        if entry.ref.session is not None:
            self._entries.close_session(entry.ref, "lost")
        self._return_permit(entry)
        self._empty.append(entry)

    # -- entries that were lost ----------------------------------------------------------

    def _wake_first_waiter(self, _: object) -> None:
        """Something was lost: the first waiter reclaims it."""
        if self._waiters and (waiter := self._queue.first()) is not None:
            waiter.wake()

    def _reclaim(self) -> None:
        if self._affinity:
            self._affinity.call_in_overdue()
        if self._entries.needs_adjusting and not self._retired:
            self._entries.adjust()

    # -- closing, resizing, pausing ------------------------------------------------------

    @clears_frames
    def dispose(self) -> None:
        """Close idle connections now, and those in use when they are returned.

        Entries and queue stay, so the cap holds while old connections are still in use.
        """
        self._generation = object()
        self._affinity.call_in()
        self._reclaim()
        self._sweep(time.monotonic())
        self._upkeep.wait()  # a fork may follow, which its thread would not survive
        if self._leaks is not None:
            self._leaks.stop_if_unused()

    @clears_frames
    def resize(self, pool_size: int, max_overflow: int = 0) -> None:
        """Change the cap. A smaller one holds as soon as enough connections are returned."""
        self._sessions.cap = self._entries.cap = pool_size + max_overflow
        self._keep = pool_size
        if not self._retired:
            self._entries.adjust()
        self._affinity.call_in()
        while self._entries.surplus and (free := self._take_surplus()) is not None:
            self._put(free)

    def _take_surplus(self) -> PoolEntry | None:
        """A free entry to drop, preferably an empty one."""
        for entries in (self._empty, self._idle):
            try:
                return entries.popleft()
            except IndexError:
                continue
        return None

    def _sweep(self, now: float) -> None:
        """Close connections that have been idle for too long or are older than a close."""
        while self._idle:
            try:
                if self._reason_to_sweep(self._idle[0], now, len(self._idle)) is None:
                    return
                entry = self._idle.popleft()
            except IndexError:
                return
            # Another thread may have taken the one that was looked at: look again.
            if reason := self._reason_to_sweep(entry, now, len(self._idle) + 1):
                entry.drop(reason)
            self._put(entry)

    def _reason_to_sweep(self, entry: PoolEntry, now: float, idle: int) -> str | None:
        if entry.generation is not self._generation:
            return "pool closed"
        if 0 <= self._max_idle < now - entry.idle_since and idle > self.min_idle:
            return "idle"
        return None

    @property
    def retired(self) -> bool:
        return self._retired

    @clears_frames
    def retire(self) -> bool:
        """Close for good, unless a connection is in use or wanted; returns whether it did.

        A later borrower gets :exc:`PoolRetired` and has to look for another pool.
        """
        self._affinity.call_in()
        self._reclaim()
        if any(entry.holder is not None for entry in self.entries):
            return False
        # Whoever has all entries has the pool. Borrowers that come meanwhile wait as usual.
        entries = list(iter(self._take_surplus, None))
        if len(entries) == len(self._entries):
            for entry in entries:
                entry.drop("pool retired")
            # A borrower enters the queue first and looks at this afterwards.
            self._retired = len(entries) == len(self._entries)
            if self._waiters or self._sessions.open_sessions:
                self._retired = False
        while entries and not self._retired:
            self._put(entries.pop())
        self._entries.dropped += [entry.stats for entry in entries]
        return self._retired

    @property
    def paused(self) -> bool:
        return self._pool_limiter.paused

    @clears_frames
    def pause(self) -> None:
        """Lend nothing until :meth:`resume`: borrowers wait as long as their timeout allows.

        Connections in use stay in use until they are returned. (PgBouncer's ``PAUSE``.)
        """
        self._pool_limiter.paused = True
        # Instead of a check in every borrow.
        self._take = self._take_nothing  # type: ignore[method-assign]
        self._affinity.close()

    @clears_frames
    def resume(self) -> None:
        """End a :meth:`pause`: waiters are served in their order."""
        self._affinity.reopen()
        self._pool_limiter.paused = False
        vars(self).pop("_take", None)
        self._hand_over()

    def _take_nothing(self, since: float) -> PoolEntry | None:
        if self._pool_limiter.paused:
            return None
        self.resume()  # an exception has interrupted resume()
        return self._take(since)

    # -- reporting -----------------------------------------------------------------------

    @property
    def last_used(self) -> float:
        """When a connection was last borrowed or returned (monotonic clock)."""
        times = [max(entry.held_since, entry.idle_since) for entry in self.entries]
        return max(times, default=0.0)

    @property
    def has_room(self) -> bool:
        """Whether a connection could be opened now without anybody waiting for it."""
        newest = float("inf")
        wanted = self._waiters or self._pool_limiter.paused
        return bool(self._empty) and not wanted and self._limiter.has_room(newest)

    @clears_frames
    def status(self) -> str:
        if self._entries.lost:
            self._reclaim()
        self._sessions.forget_ended()
        in_use = sum(entry.holder is not None and not entry.parked for entry in self.entries)
        idle = len(self._idle) + len(self._affinity)
        return (
            f"pool {self.name}: {self._sessions.open_sessions} open, {in_use} in use, "
            f"{idle} idle, {len(self._queue)} waiting, cap {self.cap}"
            f"{', paused' if self._pool_limiter.paused else ''}"
        )

    @clears_frames
    def stats(self) -> PoolStats:
        """A snapshot of what the pool is doing and has done."""
        if self._entries.lost:
            self._reclaim()
        self._sessions.forget_ended()
        return take_snapshot(
            self.entries,
            self._entries.dropped,
            name=self.name,
            poolclass=type(self).__name__,
            cap=self.cap,
            total=self._sessions.open_sessions,
            peak=self._sessions.peak_sessions,
            idle=len(self._idle) + len(self._affinity),
            waiting=len(self._queue),
            min_idle=self.min_idle,
            paused=self._pool_limiter.paused,
            timeouts=self._timeouts,
            rejected=self._rejected,
            connect_errors=self._connect_errors,
        )

    def _deadlock(self) -> PoolDeadlock:
        return deadlock(self.status(), self._pool_limiter.no_room(), self.stats())

    def _timed_out(self, waited: float) -> PoolTimeout:
        self._timeouts += 1
        no_room, error = self._pool_limiter.no_room(), self._last_connect_error
        return timed_out(self.status(), no_room, self.stats(), waited, self._timeout, error)
