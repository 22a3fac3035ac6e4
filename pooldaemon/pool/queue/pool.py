"""The default pool: a hard cap, and first come, first served.

Slots that nobody uses lie in deques (see :mod:`pooldaemon.pool.queue.slots`), so that the usual
borrow and return take no lock, and nothing waits for one.

Each waiter has a lock of its own, released by whoever hands it a slot, so that a hand-over
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
from pooldaemon.pool.queue.borrowers import Owner, here
from pooldaemon.pool.queue.callsite import caller
from pooldaemon.pool.queue.cancellation import waiting
from pooldaemon.pool.queue.entry import Slot
from pooldaemon.pool.queue.errors import deadlock, timed_out
from pooldaemon.pool.queue.leaks import LeakWatch
from pooldaemon.pool.queue.lease import BorrowedConnection
from pooldaemon.pool.queue.share import Share, Waiter
from pooldaemon.pool.queue.slots import DEFAULT_POOL_SIZE, SWEEP_INTERVAL, SlotPool
from pooldaemon.pool.queue.stats import take_snapshot
from pooldaemon.pool.queue.upkeep import Aside
from pooldaemon.pool.tokens import forget_frames, keeps_nothing
from pooldaemon.stats import PoolStats

GRACE = 0.01
"""Seconds to wait for one who is about to hand over a slot, and has only to say so."""

RECYCLE_JITTER = 0.1
"""A connection's lifetime is shortened by up to this share, so that connections made together
do not all reconnect together (HikariCP varies ``maxLifetime`` in the same way)."""


class FairQueuePool(SlotPool):
    """At most ``pool_size + max_overflow`` connections, handed out in order of arrival.

    :param dialect: what to ask of the driver.
    :param pool_size: connections kept open when idle, 1 or more.
    :param max_overflow: connections above that under load, closed when they come back.
    :param timeout: seconds a borrower waits for a slot and for the server to accept it.
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
            parks=leak_threshold is None,  # the watch hears of every give-back
            **kw,
        )
        self._is_alive = dialect.is_alive
        self._handle_class = dialect.handle_class
        self._timeout = timeout
        self._max_waiting = max_waiting
        self._timeouts = 0
        self._rejected = 0
        self._connect_errors = 0
        self._last_connect_error: BaseException | None = None
        self._aside = Aside(self._put_from_aside)
        self._share = dialect.share = Share(
            self._budget, self._idle, self._empty, self._queue,
            serve=self._hand_over, put=self._put, reclaim=self._reclaim,
        )  # fmt: skip
        self._leaks = LeakWatch(leak_threshold, self) if leak_threshold is not None else None

    # -- borrowing --------------------------------------------------------------------

    def borrow(self) -> BorrowedConnection:
        """Like ``connect()``, without the cost of SQLAlchemy's proxy and its events.

        :raises PoolTimeout: no connection became free in time.
        :raises TooManyWaiters: the queue is full.
        :raises PoolRetired: see :meth:`retire`.
        """
        try:
            slot = self._do_get()
            slot.place = caller(1)
            if slot.dbapi_connection is None:
                self._connect(slot)
            if self._leaks is not None:
                self._leaks.watch()
            return self._handle_class(slot.dbapi_connection, slot)
        except BaseException as error:
            slot = None
            forget_frames(error)
            raise

    def _connect(self, slot: Slot) -> None:
        try:
            slot.connect()
        except PoolTimeout as failure:
            failure.stats = self.stats()
            self._return_unused(slot)
            raise
        except Exception as failure:
            self._connect_errors += 1
            self._last_connect_error = failure.with_traceback(None)
            self._return_unused(slot)
            raise
        except BaseException:
            self._return_unused(slot)
            raise
        self._last_connect_error = None  # over: it would mislead the reader of a later timeout

    def _do_get(self) -> Slot:
        started = now = time.monotonic()
        owner = here.owner
        if not self._idle and self._parking:
            self._parking.call_in_one()
        # Whoever waits came earlier: a newcomer may not pass, even if a slot is free.
        slot = None if self._waiters else self._take(started)
        if slot is None:
            slot = self._wait(started, owner)
            now = time.monotonic()
            slot.stats.wait.add(now - started)
        slot.holder, slot.held_since = owner, now
        owner.slots[slot.ref] = slot.ref
        try:
            if slot.dbapi_connection is None:
                pass
            elif slot.generation is not self._generation:
                slot.drop("pool closed")
            elif now >= slot.expires:
                slot.drop("expired")
            elif not self._is_alive(slot.dbapi_connection, now - slot.idle_since):
                slot.drop("dead")
        except BaseException:  # a signal handler's, perhaps, while the server was pinged
            slot.drop("dead")
            self._return_unused(slot)
            raise
        if slot.dbapi_connection is None:
            slot.since, slot.deadline = started, started + self._timeout
            self._prepare_connect(slot, now)
        return slot

    def _prepare_connect(self, slot: Slot, now: float) -> None:
        self._reclaim()
        slot.generation = self._generation
        lifetime = self._recycle * (1 - RECYCLE_JITTER * random.random())
        slot.expires = now + lifetime if self._recycle >= 0 else float("inf")

    def _wait(self, started: float, owner: Owner) -> Slot:
        waiter = Waiter(owner, started)
        self._queue.add(waiter)
        try:
            self._check_wait(waiter)
            self._share.claim()
            self._hand_over()  # a slot may have come back just before we stood in the queue
            if waiter.slot is None:
                self._reclaim()
                with waiting(partial(self._cancel, weakref.ref(waiter))):
                    self._share.sleep(waiter, self._timeout, self._look)
        except BaseException:  # KeyboardInterrupt and the like: leave the queue in order
            if (slot := self._leave(waiter)) is not None:
                self._put(slot)
            raise
        if (slot := self._leave(waiter)) is None:
            if waiter.cancelled:
                raise PoolWaitCancelled(
                    f"pool {self.name}: the wait for a connection was cancelled"
                )
            raise self._timed_out(time.monotonic() - started)
        return slot

    def _check_wait(self, waiter: Waiter) -> None:
        """Whether it makes sense. In the queue already, so that others see it meanwhile."""
        owner, most = waiter.owner, self._max_waiting
        if self._retired:
            raise PoolRetired(self.name)
        if most is not None and len(self._queue.up_to(waiter)) > most:
            # One that was free the moment before is not refused.
            self._hand_over()
            if waiter.slot is None and self._queue.remove(waiter):
                self._rejected += 1
                raise TooManyWaiters(f"{self.status()}: the queue is full (max_waiting={most})")
        if owner.slots and self._would_deadlock(waiter):
            raise self._deadlock()

    def _look(self, waiter: Waiter) -> None:
        """Put in order what may keep *waiter* from being served: see :mod:`.baton`."""
        if waiter not in self._queue.all() and waiter.is_waiting():
            # Taken out by one who was to hand over, and was interrupted, or is about to.
            waiter.signal.acquire(timeout=GRACE)
            if waiter.is_waiting():
                self._queue.restore(waiter)
        if self._retired:
            raise PoolRetired(self.name)
        self._reclaim()
        self._share.claim()
        self._hand_over()

    def _leave(self, waiter: Waiter) -> Slot | None:
        """Quit the queue, with the slot that was handed over, if any."""
        if waiter.slot is None and not self._queue.remove(waiter) and waiter.is_waiting():
            waiter.signal.acquire(timeout=GRACE)  # it is being served in this moment
        if not self._waiters:
            self._share.renounce()
        elif waiter.slot is None:
            self._hand_over()
        return waiter.slot

    def _cancel(self, waiting: weakref.ref[Waiter]) -> None:
        """Send a waiter away, if it still waits. Called from another thread."""
        if (waiter := waiting()) is not None and self._queue.remove(waiter):
            waiter.cancelled = True
            waiter.wake()

    def _would_deadlock(self, waiter: Waiter) -> bool:
        """Whether those who hold the connections would all be waiting for one of them."""
        waiter.owner.forget_lost()
        if self._share.lacks_permit():
            return self._budget.would_deadlock(waiter.owner)
        # Those behind it in the queue look as well: of two that wait for each other one is told.
        waiting = {one.owner for one in self._queue.up_to(waiter)}
        slots = self.slots
        return len(slots) >= self.cap and all(slot.holder in waiting for slot in slots)

    # -- giving back ------------------------------------------------------------------

    def _return_unused(self, slot: Slot) -> None:
        slot.claim_from(slot.holder)
        self._do_return_conn(slot)

    def _do_return_conn(self, record: Any) -> None:
        slot: Slot = record
        now = slot.idle_since = time.monotonic()
        if not slot.parked:
            slot.stats.use.add(now - slot.held_since)
        slot.parked = False
        if self._leaks is not None:
            self._leaks.returned(slot, now)
        slot.holder = slot.place = None
        if getattr(slot.dbapi_connection, "broken", False):
            slot.drop("broken")
        elif slot.generation is not self._generation:
            slot.drop("pool closed")
        elif len(self._idle) >= self._keep and not self._waiters:
            # Above pool_size only waiters justify keeping a connection open.
            slot.drop("overflow")
        elif self._claims and self._share.is_owed():
            slot.drop("process limit")
        if now < self._next_sweep:
            self._put(slot)
        else:
            self._next_sweep = now + SWEEP_INTERVAL
            self._put_after_upkeep(slot, now)
            self._reclaim()
            self._sweep(now)

    def _put_after_upkeep(self, slot: Slot, now: float) -> None:
        """Put *slot* back, but first use its connection for a moment, if there is a need for it."""
        connection = slot.dbapi_connection
        work = None if connection is None else self._sessions.upkeep(connection, now)
        if getattr(connection, "broken", False):
            slot.drop("broken")
        if work is None or not self._aside.run(work, slot):
            self._put(slot)

    def _put_from_aside(self, slot: Slot, more: bool) -> None:
        slot.idle_since = now = time.monotonic()
        if getattr(slot.dbapi_connection, "broken", False):
            slot.drop("broken")
        elif slot.generation is not self._generation:
            slot.drop("pool closed")
        if more:  # rather soon
            self._next_sweep = now
        self._put(slot)

    def _hand_over(self) -> None:
        """Give free slots to those who wait, the longest waiting first."""
        # The baton is not waited for: whoever holds it looks again after letting go of it.
        while (
            self._waiters
            and not self._share.paused
            and self._share.can_serve()
            and (baton := self._serving.take()) is not None
        ):
            waiter = slot = None
            try:
                while (waiter := self._queue.first()) is not None:
                    if (slot := self._take(waiter.since)) is None:
                        break
                    if self._queue.remove(waiter):
                        waiter.slot = slot
                        waiter.wake()
                    else:  # it has gone
                        self._lay(slot)
                    slot = None
                else:
                    self._share.renounce()
            except BaseException:
                if waiter is not None:
                    waiter.wake()  # to look whether it was served
                raise
            finally:
                waiter = slot = None
                del baton

    @property
    def retired(self) -> bool:
        return self._retired

    @property
    def paused(self) -> bool:
        return self._share.paused

    @keeps_nothing
    def pause(self) -> None:
        """Lend nothing until :meth:`resume`: who comes waits, as long as its timeout allows.

        What is in use goes on, and comes back. (PgBouncer's ``PAUSE``.)
        """
        self._share.paused = True
        # Instead of a question in every borrow.
        self._take = self._take_nothing  # type: ignore[method-assign]
        self._parking.close()

    @keeps_nothing
    def resume(self) -> None:
        """End a :meth:`pause`: those who wait are served in their order."""
        self._parking.reopen()
        self._share.paused = False
        vars(self).pop("_take", None)
        self._hand_over()

    def _take_nothing(self, since: float) -> Slot | None:
        if self._share.paused:
            return None
        self.resume()  # an exception has ended the one that was called
        return self._take(since)

    def dispose(self) -> None:
        super().dispose()
        self._aside.wait()  # perhaps a fork follows
        if self._leaks is not None:
            self._leaks.stop_if_unused()

    @keeps_nothing
    def retire(self) -> bool:
        """Close for good, unless a connection is in use or wanted; says whether it did.

        A borrower that comes later gets :exc:`PoolRetired`, and has to look for another pool.
        """
        self._reclaim()
        if any(slot.holder is not None for slot in self.slots):
            return False
        # Who has all slots has the pool. Those who come meanwhile queue up, as ever.
        slots = list(iter(self._take_surplus, None))
        if len(slots) == len(self._slots):
            for slot in slots:
                slot.drop("pool retired")
            # Who comes to wait looks at this once it can be seen to wait.
            self._retired = len(slots) == len(self._slots)
            if self._waiters or self._sessions.open_sessions:
                self._retired = False
        while slots and not self._retired:
            self._put(slots.pop())
        self._dropped += [slot.stats for slot in slots]
        return self._retired

    # -- telling ----------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether a connection could be opened now without anybody waiting for it."""
        newest = float("inf")
        wanted = self._waiters or self._share.paused
        return bool(self._empty) and not wanted and self._budget.has_room(newest)

    @keeps_nothing
    def status(self) -> str:
        if self._lost:
            self._reclaim()
        self._sessions.forget_ended()
        in_use = sum(slot.holder is not None and not slot.parked for slot in self.slots)
        idle = len(self._idle) + len(self._parking)
        return (
            f"pool {self.name}: {self._sessions.open_sessions} open, {in_use} in use, "
            f"{idle} idle, {len(self._queue)} waiting, cap {self.cap}"
            f"{', paused' if self._share.paused else ''}"
        )

    @keeps_nothing
    def stats(self) -> PoolStats:
        """A snapshot of what the pool is doing and has done."""
        if self._lost:
            self._reclaim()
        self._sessions.forget_ended()
        return take_snapshot(
            self.slots,
            self._dropped,
            name=self.name,
            poolclass=type(self).__name__,
            cap=self.cap,
            total=self._sessions.open_sessions,
            peak=self._sessions.peak_sessions,
            idle=len(self._idle) + len(self._parking),
            waiting=len(self._queue),
            min_idle=self.min_idle,
            paused=self._share.paused,
            timeouts=self._timeouts,
            rejected=self._rejected,
            connect_errors=self._connect_errors,
        )

    def _deadlock(self) -> PoolDeadlock:
        return deadlock(self.status(), self._share.no_room(), self.stats())

    def _timed_out(self, waited: float) -> PoolTimeout:
        self._timeouts += 1
        no_room, error = self._share.no_room(), self._last_connect_error
        return timed_out(self.status(), no_room, self.stats(), waited, self._timeout, error)
