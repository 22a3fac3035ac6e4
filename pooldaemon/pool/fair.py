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
from collections import deque
from typing import Any

from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import _ConnectionRecord

from pooldaemon.exceptions import PoolTimeout, TooManyWaiters
from pooldaemon.pool.dialect import DriverDialect
from pooldaemon.pool.handle import BorrowedConnection

RECYCLE_JITTER = 0.1
"""A connection's lifetime is shortened by up to this share, so that connections made together
do not all reconnect together (HikariCP varies ``maxLifetime`` in the same way)."""


class Slot(_ConnectionRecord):
    """One place under the cap, empty or with a connection."""

    def __init__(self, pool: FairQueuePool) -> None:
        super().__init__(pool, connect=False)
        self.pool = pool
        self.generation = -1
        """The pool's generation in which its connection was made; older ones are closed."""
        self.expires = 0.0
        self.idle_since = 0.0
        self.deadline = 0.0
        """Until when (monotonic clock) the borrower waits for the server to accept it."""
        self.holder: int | None = None
        """The thread that has borrowed it."""
        self.held_since = 0.0

    def give_back(self) -> None:
        """The borrower is done with it."""
        pool = self.pool
        pool._reset(self.dbapi_connection)
        pool._do_return_conn(self)

    def discard(self) -> None:
        """The borrower is done with it, and nobody should use this connection again."""
        self.close()
        self.pool._do_return_conn(self)


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

    Thread-safe. The remaining arguments are those of :class:`sqlalchemy.pool.Pool`.
    """

    def __init__(
        self,
        creator: Any,
        dialect: DriverDialect,
        pool_size: int = 10,
        max_overflow: int = 0,
        timeout: float = 30.0,
        use_lifo: bool = True,
        max_waiting: int | None = None,
        max_idle: float = -1,
        **kw: Any,
    ) -> None:
        super().__init__(creator, dialect=dialect, **kw)  # type: ignore[arg-type]
        self._reset = dialect.reset
        self._is_alive = dialect.is_alive
        self.cap = pool_size + max_overflow
        self._keep = pool_size
        self._timeout = timeout
        self._max_waiting = max_waiting
        self._max_idle = max_idle
        self._generation = 0
        self._surplus = 0
        """Slots in use that are above the cap since it was made smaller."""
        self._slots = [Slot(self) for _ in range(self.cap)]
        self._idle: deque[Slot] = deque()  # the longest idle one is on the left
        self._empty = deque(self._slots)
        self._take_idle = self._idle.pop if use_lifo else self._idle.popleft
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter] = deque()

    # -- borrowing --------------------------------------------------------------------

    def borrow(self, error: type[Exception]) -> BorrowedConnection:
        """Like ``connect()``, without the cost of SQLAlchemy's proxy and its events.

        :param error: what the connection raises once it has been given back.
        :raises PoolTimeout: no connection became free in time.
        :raises TooManyWaiters: the queue is full.
        """
        slot = self._do_get()
        if slot.dbapi_connection is None:
            try:
                slot.get_connection()
            except BaseException:
                self._do_return_conn(slot)
                raise
        return BorrowedConnection(slot.dbapi_connection, slot, error)

    def _do_get(self) -> Slot:
        now = time.monotonic()
        # Whoever waits came earlier: a newcomer may not pass, even if a slot is free.
        slot = None if self._waiters else self._take()
        if slot is None:
            slot = self._wait(now)
        slot.holder = threading.get_ident()
        slot.held_since = now
        if slot.dbapi_connection is not None and not self._is_fit(slot, now):
            slot.close()
        if slot.dbapi_connection is None:  # SQLAlchemy connects it as soon as we return
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
        slot.deadline = now + self._timeout
        lifetime = self._recycle * (1 - RECYCLE_JITTER * random.random())
        slot.expires = time.monotonic() + lifetime if self._recycle >= 0 else float("inf")

    def _wait(self, started: float) -> Slot:
        waiter = _Waiter()
        with self._lock:
            if self._max_waiting is not None and len(self._waiters) >= self._max_waiting:
                raise TooManyWaiters(
                    f"{self.status()}: the queue is full (max_waiting={self._max_waiting})"
                )
            self._waiters.append(waiter)
        self._hand_over()  # a slot may have come back just before we stood in the queue
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
            with self._lock:
                if waiter.slot is None:
                    self._waiters.remove(waiter)
            self._hand_over()
        return waiter.slot

    def _is_fit(self, slot: Slot, now: float) -> bool:
        return (
            slot.generation == self._generation
            and now < slot.expires
            and self._is_alive(slot.dbapi_connection)
        )

    # -- giving back ------------------------------------------------------------------

    def _do_return_conn(self, record: Any) -> None:
        slot: Slot = record
        slot.holder = None
        now = slot.idle_since = time.monotonic()
        if slot.dbapi_connection is not None and not self._is_worth_keeping(slot):
            slot.close()
        self._put(slot)
        self._sweep(now)

    def _is_worth_keeping(self, slot: Slot) -> bool:
        if slot.generation != self._generation or getattr(slot.dbapi_connection, "broken", False):
            return False
        # Above pool_size only waiters justify keeping a connection open.
        return len(self._idle) < self._keep or bool(self._waiters)

    def _put(self, slot: Slot) -> None:
        if self._surplus and self._drop(slot):
            return
        (self._empty if slot.dbapi_connection is None else self._idle).append(slot)
        if self._waiters:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give free slots to those who wait, the longest waiting first."""
        # The lock is not waited for: whoever holds it looks again after letting go of it.
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
        with self._lock:
            self._generation += 1
        self._sweep(time.monotonic())

    def resize(self, pool_size: int, max_overflow: int = 0) -> None:
        """Change the cap. A smaller one holds as soon as connections in use have come back."""
        with self._lock:
            change = pool_size + max_overflow - self.cap
            self.cap += change
            self._keep = pool_size
            revived = min(self._surplus, max(change, 0))
            self._surplus += max(-change, 0) - revived
            added = [Slot(self) for _ in range(change - revived)]
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
        slot.close()
        # Not waited for, see _hand_over(): a slot that stays is dropped at its next return.
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if not self._surplus:
                return False
            self._surplus -= 1
            self._slots.remove(slot)
            return True
        finally:
            self._lock.release()

    def _sweep(self, now: float) -> None:
        """Close what has been idle for too long, or was made before the pool was closed."""
        while self._idle:
            try:
                if not self._is_stale(self._idle[0], now):
                    return
                slot = self._idle.popleft()
            except IndexError:
                return
            if self._is_stale(slot, now):  # another thread may have taken the one we looked at
                slot.close()
            self._put(slot)

    def _is_stale(self, slot: Slot, now: float) -> bool:
        too_long = 0 <= self._max_idle < now - slot.idle_since
        return too_long or slot.generation != self._generation

    # -- telling ----------------------------------------------------------------------

    def status(self) -> str:
        in_use = sum(slot.holder is not None for slot in self._slots)
        return (
            f"pool {self._orig_logging_name or hex(id(self))}: {in_use} in use, "
            f"{len(self._idle)} idle, {len(self._waiters)} waiting, cap {self.cap}"
        )

    def _timed_out(self, waited: float) -> PoolTimeout:
        now = time.monotonic()
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        holders = ", ".join(
            f"{names.get(slot.holder, 'a thread that has ended')} for {now - slot.held_since:.1f} s"
            for slot in self._slots
            if slot.holder is not None
        )
        return PoolTimeout(
            f"{self.status()}: no connection became free in {waited:.1f} s "
            f"(timeout={self._timeout:g}). Held by: {holders or 'nobody'}. "
            "Give connections back sooner (auto_close_db), or raise pool_size or timeout."
        )
