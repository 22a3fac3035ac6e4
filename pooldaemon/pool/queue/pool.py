"""The default pool: a hard cap, and first come, first served.

Entries that nobody uses lie in deques (see :mod:`pooldaemon.pool.queue.slots`), so that the usual
borrow and return take no lock, and nothing waits for one.

Each waiter has a lock of its own, released by whoever hands it an entry, so that a hand-over
wakes exactly one thread, the longest waiting one.
"""

from __future__ import annotations

import random
import time
import weakref
from functools import partial
from typing import Any

from pooldaemon.exceptions import (
    PoolDeadlock,
    PoolRetired,
    PoolTimeout,
    PoolWaitCancelled,
    TooManyWaiters,
)
from pooldaemon.pool.drivers.base import DriverDialect
from pooldaemon.pool.queue.borrowers import Borrower, here
from pooldaemon.pool.queue.callsite import caller
from pooldaemon.pool.queue.cancellation import waiting
from pooldaemon.pool.queue.entry import PoolEntry
from pooldaemon.pool.queue.errors import deadlock, timed_out
from pooldaemon.pool.queue.leaks import LeakWatch
from pooldaemon.pool.queue.lease import Lease
from pooldaemon.pool.queue.share import PoolLimiter, Waiter
from pooldaemon.pool.queue.slots import DEFAULT_POOL_SIZE, SWEEP_INTERVAL, EntryPool
from pooldaemon.pool.queue.stats import take_snapshot
from pooldaemon.pool.queue.upkeep import Upkeep
from pooldaemon.pool.tokens import clear_frames, clears_frames
from pooldaemon.stats import PoolStats

GRACE = 0.01
"""Seconds to wait for one who is about to hand over an entry, and has only to say so."""

RECYCLE_JITTER = 0.1
"""A connection's lifetime is shortened by up to this share, so that connections made together
do not all reconnect together (HikariCP varies ``maxLifetime`` in the same way)."""


class FairQueuePool(EntryPool):
    """At most ``pool_size + max_overflow`` connections, handed out in order of arrival.

    :param dialect: what to ask of the driver.
    :param pool_size: connections kept open when idle, 1 or more.
    :param max_overflow: connections above that under load, closed when they come back.
    :param timeout: seconds a borrower waits for an entry and for the server to accept it.
    :param use_lifo: hand out the most recently used idle connection first, so that the
        others can age out.
    :param max_waiting: longest queue; a further borrower fails at once. ``None``: no limit.
    :param max_idle: seconds after which an idle connection is closed; -1: never. There is
        no background thread: it is looked at when a connection comes back.
    :param min_idle: so many connections are opened with the first one and stay open however
        long they idle.
    :param leak_threshold: seconds after which a connection that has not come back is logged.
        ``None``: never.

    Thread-safe. The remaining arguments are those of :class:`sqlalchemy.pool.Pool`.
    """

    def __init__(  # noqa: PLR0913 - they are a pool's settings, all with defaults
        self,
        creator: Any,
        dialect: DriverDialect,
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
        super().__init__(
            creator,
            dialect,
            pool_size=pool_size,
            max_overflow=max_overflow,
            use_lifo=use_lifo,
            max_idle=max_idle,
            min_idle=min_idle,
            keeps_affinity=leak_threshold is None,  # the watch hears of every give-back
            **kw,
        )
        self._is_alive = dialect.is_alive
        self._lease_class = dialect.lease_class
        self._timeout = timeout
        self._max_waiting = max_waiting
        self._timeouts = 0
        self._rejected = 0
        self._connect_errors = 0
        self._last_connect_error: BaseException | None = None
        self._upkeep = Upkeep(self._put_after_upkeep_elsewhere)
        self._pool_limiter = dialect.reserve = PoolLimiter(
            self._limiter, self._idle, self._empty, self._queue,
            serve=self._hand_over, put=self._put, reclaim=self._reclaim,
        )  # fmt: skip
        self._leaks = LeakWatch(leak_threshold, self) if leak_threshold is not None else None

    # -- borrowing --------------------------------------------------------------------

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
        self._last_connect_error = None  # over: it would mislead the reader of a later timeout

    def _do_get(self) -> PoolEntry:
        started = now = time.monotonic()
        borrower = here.borrower
        if not self._idle and self._affinity:
            self._affinity.call_in_one()
        # Whoever waits came earlier: a newcomer may not pass, even if an entry is free.
        entry = None if self._waiters else self._take(started)
        if entry is None:
            entry = self._wait(started, borrower)
            now = time.monotonic()
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
        except BaseException:  # a signal handler's, perhaps, while the server was pinged
            entry.drop("dead")
            self._return_unused(entry)
            raise
        if entry.dbapi_connection is None:
            entry.since, entry.deadline = started, started + self._timeout
            self._prepare_connect(entry, now)
        return entry

    def _prepare_connect(self, entry: PoolEntry, now: float) -> None:
        self._reclaim()
        entry.generation = self._generation
        lifetime = self._recycle * (1 - RECYCLE_JITTER * random.random())
        entry.expires = now + lifetime if self._recycle >= 0 else float("inf")

    def _wait(self, started: float, borrower: Borrower) -> PoolEntry:
        waiter = Waiter(borrower, started)
        self._queue.add(waiter)
        try:
            self._check_wait(waiter)
            self._pool_limiter.claim()
            self._hand_over()  # an entry may have come back just before we stood in the queue
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
        """Whether it makes sense. In the queue already, so that others see it meanwhile."""
        borrower, most = waiter.borrower, self._max_waiting
        if self._retired:
            raise PoolRetired(self.name)
        if most is not None and len(self._queue.up_to(waiter)) > most:
            # One that was free the moment before is not refused.
            self._hand_over()
            if waiter.entry is None and self._queue.remove(waiter):
                self._rejected += 1
                raise TooManyWaiters(f"{self.status()}: the queue is full (max_waiting={most})")
        if borrower.entries and self._would_deadlock(waiter):
            raise self._deadlock()

    def _look(self, waiter: Waiter) -> None:
        """Put in order what may keep *waiter* from being served: see :mod:`.lock`."""
        if waiter not in self._queue.all() and waiter.is_waiting():
            # Taken out by one who was to hand over, and was interrupted, or is about to.
            waiter.signal.acquire(timeout=GRACE)
            if waiter.is_waiting():
                self._queue.restore(waiter)
        if self._retired:
            raise PoolRetired(self.name)
        self._reclaim()
        self._pool_limiter.claim()
        self._hand_over()

    def _leave(self, waiter: Waiter) -> PoolEntry | None:
        """Quit the queue, with the entry that was handed over, if any."""
        if waiter.entry is None and not self._queue.remove(waiter) and waiter.is_waiting():
            waiter.signal.acquire(timeout=GRACE)  # it is being served in this moment
        if not self._waiters:
            self._pool_limiter.renounce()
        elif waiter.entry is None:
            self._hand_over()
        return waiter.entry

    def _cancel(self, waiting: weakref.ref[Waiter]) -> None:
        """Send a waiter away, if it still waits. Called from another thread."""
        if (waiter := waiting()) is not None and self._queue.remove(waiter):
            waiter.cancelled = True
            waiter.wake()

    def _would_deadlock(self, waiter: Waiter) -> bool:
        """Whether those who hold the connections would all be waiting for one of them."""
        waiter.borrower.forget_lost()
        if self._pool_limiter.lacks_permit():
            return self._limiter.would_deadlock(waiter.borrower)
        # Those behind it in the queue look as well: of two that wait for each other one is told.
        waiting = {one.borrower for one in self._queue.up_to(waiter)}
        entries = self.entries
        return len(entries) >= self.cap and all(entry.holder in waiting for entry in entries)

    # -- giving back ------------------------------------------------------------------

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
            self._put(entry)
        else:
            self._next_sweep = now + SWEEP_INTERVAL
            self._put_after_upkeep(entry, now)
            self._reclaim()
            self._sweep(now)

    def _put_after_upkeep(self, entry: PoolEntry, now: float) -> None:
        """Put *entry* back, but first use its connection for a moment, if there is a need for
        it."""
        connection = entry.dbapi_connection
        work = None if connection is None else self._sessions.upkeep(connection, now)
        if getattr(connection, "broken", False):
            entry.drop("broken")
        if work is None or not self._upkeep.run(work, entry):
            self._put(entry)

    def _put_after_upkeep_elsewhere(self, entry: PoolEntry, more: bool) -> None:
        entry.idle_since = now = time.monotonic()
        if getattr(entry.dbapi_connection, "broken", False):
            entry.drop("broken")
        elif entry.generation is not self._generation:
            entry.drop("pool closed")
        if more:  # rather soon
            self._next_sweep = now
        self._put(entry)

    def _hand_over(self) -> None:
        """Give free entries to those who wait, the longest waiting first."""
        # The lock is not waited for: whoever holds it looks again after letting go of it.
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
                    else:  # it has gone
                        self._lay(entry)
                    entry = None
                else:
                    self._pool_limiter.renounce()
            except BaseException:
                if waiter is not None:
                    waiter.wake()  # to look whether it was served
                raise
            finally:
                waiter = entry = None
                del token

    @property
    def retired(self) -> bool:
        return self._retired

    @property
    def paused(self) -> bool:
        return self._pool_limiter.paused

    @clears_frames
    def pause(self) -> None:
        """Lend nothing until :meth:`resume`: who comes waits, as long as its timeout allows.

        What is in use goes on, and comes back. (PgBouncer's ``PAUSE``.)
        """
        self._pool_limiter.paused = True
        # Instead of a question in every borrow.
        self._take = self._take_nothing  # type: ignore[method-assign]
        self._affinity.close()

    @clears_frames
    def resume(self) -> None:
        """End a :meth:`pause`: those who wait are served in their order."""
        self._affinity.reopen()
        self._pool_limiter.paused = False
        vars(self).pop("_take", None)
        self._hand_over()

    def _take_nothing(self, since: float) -> PoolEntry | None:
        if self._pool_limiter.paused:
            return None
        self.resume()  # an exception has ended the one that was called
        return self._take(since)

    def dispose(self) -> None:
        super().dispose()
        self._upkeep.wait()  # perhaps a fork follows
        if self._leaks is not None:
            self._leaks.stop_if_unused()

    @clears_frames
    def retire(self) -> bool:
        """Close for good, unless a connection is in use or wanted; says whether it did.

        A borrower that comes later gets :exc:`PoolRetired`, and has to look for another pool.
        """
        self._reclaim()
        if any(entry.holder is not None for entry in self.entries):
            return False
        # Who has all entries has the pool. Those who come meanwhile queue up, as ever.
        entries = list(iter(self._take_surplus, None))
        if len(entries) == len(self._entries):
            for entry in entries:
                entry.drop("pool retired")
            # Who comes to wait looks at this once it can be seen to wait.
            self._retired = len(entries) == len(self._entries)
            if self._waiters or self._sessions.open_sessions:
                self._retired = False
        while entries and not self._retired:
            self._put(entries.pop())
        self._dropped += [entry.stats for entry in entries]
        return self._retired

    # -- telling ----------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether a connection could be opened now without anybody waiting for it."""
        newest = float("inf")
        wanted = self._waiters or self._pool_limiter.paused
        return bool(self._empty) and not wanted and self._limiter.has_room(newest)

    @clears_frames
    def status(self) -> str:
        if self._lost:
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
        if self._lost:
            self._reclaim()
        self._sessions.forget_ended()
        return take_snapshot(
            self.entries,
            self._dropped,
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
