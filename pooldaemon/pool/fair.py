"""The default pool: a hard cap, and first come, first served.

A :class:`sqlalchemy.pool.Pool` that holds exactly *cap* slots, each one of SQLAlchemy's
connection records. A slot is in one place at a time: idle (with a live connection), empty,
or with a borrower.

Idle and empty slots lie in two deques, whose ``append`` and ``pop`` are atomic. So the usual
borrow and return take no lock, and a return is safe wherever it happens: the garbage collector
may give back a lost connection at any line of any thread, also of one that holds the lock.
The lock guards the queue of waiting threads alone. Nothing connects, pings or closes under it.

Each waiter has a lock of its own, released by whoever hands it a slot, so that a hand-over
wakes exactly one thread, the longest waiting one.
"""

from __future__ import annotations

import random
import threading
import time
from _thread import get_ident
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.pool import Pool

from pooldaemon.exceptions import PoolTimeout, TooManyWaiters
from pooldaemon.pool.counters import SlotStats
from pooldaemon.pool.dialect import DriverDialect
from pooldaemon.pool.handle import BorrowedConnection
from pooldaemon.pool.place import caller
from pooldaemon.pool.slot import Slot
from pooldaemon.pool.snapshot import take_snapshot
from pooldaemon.stats import PoolStats

RECYCLE_JITTER = 0.1
"""A connection's lifetime is shortened by up to this share, so that connections made together
do not all reconnect together (HikariCP varies ``maxLifetime`` in the same way)."""


DEFAULT_POOL_SIZE = 10

SWEEP_INTERVAL = 1.0
"""Seconds between looks for connections that have been idle for too long."""


class _Waiter:
    """A thread in the queue. ``signal`` is held until a slot is handed over."""

    __slots__ = ("signal", "slot")

    def __init__(self) -> None:
        self.slot: Slot | None = None
        self.signal = threading.Lock()
        self.signal.acquire()


class FairQueuePool(Pool):
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
        **kw: Any,
    ) -> None:
        super().__init__(creator, dialect=dialect, **kw)  # type: ignore[arg-type]
        self._make_clean = dialect.reset
        self._is_alive = dialect.is_alive
        self._handle_class = dialect.handle_class
        self._sessions = dialect
        self.cap = dialect.cap = pool_size + max_overflow
        self._keep = pool_size
        self._timeout = timeout
        self._max_waiting = max_waiting
        self._max_idle = max_idle
        self.min_idle = min(min_idle, self.cap)
        self._generation = 0
        self._next_sweep = 0.0
        self._surplus = 0
        """Slots in use that are above the cap since it was made smaller."""
        self._timeouts = 0
        self._rejected = 0
        self._connect_errors = 0
        self._last_connect_error: BaseException | None = None
        self._dropped: list[SlotStats] = []
        """What happened to slots that are no more."""
        self._slots = [self._new_slot() for _ in range(self.cap)]
        self._idle: deque[Slot] = deque()  # the longest idle one is on the left
        self._empty = deque(self._slots)
        self._take_idle = self._idle.pop if use_lifo else self._idle.popleft
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter] = deque()

    def _new_slot(self) -> Slot:
        return Slot(self, self._make_clean, self._do_return_conn)

    # -- borrowing --------------------------------------------------------------------

    def borrow(self) -> BorrowedConnection:
        """Like ``connect()``, without the cost of SQLAlchemy's proxy and its events.

        :raises PoolTimeout: no connection became free in time.
        :raises TooManyWaiters: the queue is full.
        """
        slot = self._do_get()
        slot.place = caller()
        if slot.dbapi_connection is None:
            self._connect(slot)
        return self._handle_class(slot.dbapi_connection, slot)

    def _connect(self, slot: Slot) -> None:
        try:
            slot.connect()
        except PoolTimeout as failure:
            failure.stats = self.stats()
            self._do_return_conn(slot)
            raise
        except BaseException as failure:
            self._connect_errors += 1
            self._last_connect_error = failure.with_traceback(None)
            self._do_return_conn(slot)
            raise
        self._last_connect_error = None  # over: it would mislead the reader of a later timeout

    def _do_get(self) -> Slot:
        started = now = time.monotonic()
        # Whoever waits came earlier: a newcomer may not pass, even if a slot is free.
        slot = None if self._waiters else self._take()
        if slot is None:
            slot = self._wait(started)
            now = time.monotonic()
            slot.stats.wait.add(now - started)
        slot.holder = get_ident()
        slot.held_since = now
        try:
            if slot.dbapi_connection is not None and (reason := self._reason_to_drop(slot, now)):
                slot.drop(reason)
        except BaseException:  # a signal handler's, perhaps, while the server was pinged
            slot.drop("dead")
            self._do_return_conn(slot)
            raise
        if slot.dbapi_connection is None:
            slot.deadline = started + self._timeout
            self._prepare_connect(slot, now)
        return slot

    def _take(self) -> Slot | None:
        """A free slot, rather one with a connection."""
        try:
            return self._take_idle()
        except IndexError:
            try:
                return self._empty.popleft()
            except IndexError:
                return None

    def _prepare_connect(self, slot: Slot, now: float) -> None:
        slot.generation = self._generation
        lifetime = self._recycle * (1 - RECYCLE_JITTER * random.random())
        slot.expires = now + lifetime if self._recycle >= 0 else float("inf")

    def _reason_to_drop(self, slot: Slot, now: float) -> str | None:
        if slot.generation != self._generation:
            return "pool closed"
        if now >= slot.expires:
            return "expired"
        return None if self._is_alive(slot.dbapi_connection, now - slot.idle_since) else "dead"

    def _wait(self, started: float) -> Slot:
        waiter = _Waiter()
        with self._locked():  # a slot may have come back just before we stood in the queue
            if self._max_waiting is not None and len(self._waiters) >= self._max_waiting:
                self._rejected += 1
                raise TooManyWaiters(
                    f"{self.status()}: the queue is full (max_waiting={self._max_waiting})"
                )
            self._waiters.append(waiter)
        try:
            waiter.signal.acquire(timeout=self._timeout)
        except BaseException:  # KeyboardInterrupt and the like: leave the queue in order
            if (slot := self._leave(waiter)) is not None:
                self._do_return_conn(slot)
            raise
        if (slot := self._leave(waiter)) is None:
            raise self._timed_out(time.monotonic() - started)
        return slot

    def _leave(self, waiter: _Waiter) -> Slot | None:
        """Quit the queue, with the slot that was handed over, if any."""
        if waiter.slot is None:
            with self._locked():
                if waiter.slot is None:
                    self._waiters.remove(waiter)
        return waiter.slot

    # -- giving back ------------------------------------------------------------------

    def _do_return_conn(self, record: Any) -> None:
        slot: Slot = record
        now = slot.idle_since = time.monotonic()
        slot.stats.use.add(now - slot.held_since)
        slot.holder = slot.place = None
        if getattr(slot.dbapi_connection, "broken", False):
            slot.drop("broken")
        elif slot.generation != self._generation:
            slot.drop("pool closed")
        elif len(self._idle) >= self._keep and not self._waiters:
            # Above pool_size only waiters justify keeping a connection open.
            slot.drop("overflow")
        self._put(slot)
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_INTERVAL
            self._sweep(now)

    def _put(self, slot: Slot) -> None:
        if self._surplus and self._drop(slot):
            return
        (self._empty if slot.dbapi_connection is None else self._idle).append(slot)
        if self._waiters:
            self._hand_over()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock, and then do what a return that met it held could not do."""
        try:
            with self._lock:
                yield
        finally:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give free slots to those who wait, the longest waiting first."""
        # The lock is not waited for: whoever holds it comes here after letting go of it.
        while self._waiters and (self._idle or self._empty) and self._lock.acquire(blocking=False):
            try:
                while self._waiters and (slot := self._take()) is not None:
                    waiter = self._waiters.popleft()
                    waiter.slot = slot
                    waiter.signal.release()
            finally:
                self._lock.release()

    # -- closing and resizing ---------------------------------------------------------

    def dispose(self) -> None:
        """Close idle connections now, and those in use when they come back.

        The slots and the queue stay, so that the cap holds while old connections are out.
        """
        with self._locked():
            self._generation += 1
        self._sweep(time.monotonic())

    def resize(self, pool_size: int, max_overflow: int = 0) -> None:
        """Change the cap. A smaller one holds as soon as connections in use have come back."""
        with self._locked():
            change = pool_size + max_overflow - self.cap
            self.cap += change
            self._sessions.cap = self.cap
            self._keep = pool_size
            revived = min(self._surplus, max(change, 0))
            self._surplus += max(-change, 0) - revived
            added = [self._new_slot() for _ in range(change - revived)]
            self._slots += added
        for slot in added:
            self._put(slot)
        while self._surplus and (free := self._take_surplus()) is not None:
            self._put(free)

    def _take_surplus(self) -> Slot | None:
        """A free slot, rather an empty one, for dropping."""
        for slots in (self._empty, self._idle):
            try:
                return slots.popleft()
            except IndexError:
                continue
        return None

    def _drop(self, slot: Slot) -> bool:
        """Take *slot* out of the pool, if there are still too many."""
        slot.drop("resized")
        # Not waited for, see _hand_over(): a slot that stays is dropped at its next return.
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if not self._surplus:
                return False
            self._surplus -= 1
            self._slots.remove(slot)
            self._dropped.append(slot.stats)
            return True
        finally:
            self._lock.release()
            self._hand_over()

    def _sweep(self, now: float) -> None:
        """Close what has been idle for too long, or was made before the pool was closed."""
        while self._idle:
            try:
                if self._reason_to_sweep(self._idle[0], now) is None:
                    return
                slot = self._idle.popleft()
            except IndexError:
                return
            # Another thread may have taken the one we looked at: look again.
            if reason := self._reason_to_sweep(slot, now):
                slot.drop(reason)
            self._put(slot)

    def _reason_to_sweep(self, slot: Slot, now: float) -> str | None:
        if slot.generation != self._generation:
            return "pool closed"
        if 0 <= self._max_idle < now - slot.idle_since and len(self._idle) > self.min_idle:
            return "idle"
        return None

    # -- telling ----------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether a connection could be opened now without anybody waiting for it."""
        return bool(self._empty) and not self._waiters

    def status(self) -> str:
        self._sessions.forget_ended()
        in_use = sum(slot.holder is not None for slot in self._slots)
        return (
            f"pool {self.name}: {self._sessions.open_sessions} open, {in_use} in use, "
            f"{len(self._idle)} idle, {len(self._waiters)} waiting, cap {self.cap}"
        )

    @property
    def name(self) -> str:
        return self._orig_logging_name or hex(id(self))

    def stats(self) -> PoolStats:
        """A snapshot of what the pool is doing and has done."""
        self._sessions.forget_ended()
        return take_snapshot(
            list(self._slots),
            self._dropped,
            name=self.name,
            poolclass=type(self).__name__,
            cap=self.cap,
            total=self._sessions.open_sessions,
            peak=self._sessions.peak_sessions,
            idle=len(self._idle),
            waiting=len(self._waiters),
            timeouts=self._timeouts,
            rejected=self._rejected,
            connect_errors=self._connect_errors,
        )

    def _timed_out(self, waited: float) -> PoolTimeout:
        with self._locked():
            self._timeouts += 1
        stats, error = self.stats(), self._last_connect_error
        holders = "; ".join(map(str, stats.holders)) or "nobody"
        last_error = f" Last connect error: {error}." if error else ""
        return PoolTimeout(
            f"{self.status()}: no connection became free in {waited:.1f} s "
            f"(timeout={self._timeout:g}).{last_error} Held by: {holders}. "
            "Give connections back sooner (auto_close_db), or raise pool_size or timeout.",
            waited,
            stats,
            error,
        )
