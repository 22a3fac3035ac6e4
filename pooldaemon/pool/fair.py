"""The default pool: a hard cap, and first come, first served.

A :class:`sqlalchemy.pool.Pool` that holds exactly *cap* slots, each one of SQLAlchemy's
connection records. A slot is in one place at a time: idle (with a live connection), empty,
or with a borrower. Nothing connects, pings or closes while the lock is held: the lock
decides who gets which slot, the I/O happens outside.

How threads wait: each waiter has a lock of its own, released by whoever hands it a slot, so
that a hand-over wakes exactly one thread, the longest waiting one.
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

RECYCLE_JITTER = 0.1
"""A connection's lifetime is shortened by up to this share, so that connections made together
do not all reconnect together (HikariCP varies ``maxLifetime`` in the same way)."""


class Slot(_ConnectionRecord):
    """One place under the cap. SQLAlchemy's record connects it when a borrower has it."""

    generation = -1
    """The pool's generation in which its connection was made; older ones are closed."""
    expires = 0.0
    idle_since = 0.0
    deadline = 0.0
    """Until when (monotonic clock) the borrower waits for the server to accept it."""


class _Waiter:
    """A thread in the queue. ``signal`` is held until a slot is handed over."""

    __slots__ = ("signal", "slot")

    def __init__(self) -> None:
        self.slot: Slot | None = None
        self.signal = threading.Lock()
        self.signal.acquire()


class FairQueuePool(Pool):
    """At most ``pool_size + max_overflow`` connections, handed out in order of arrival.

    :param pool_size: connections kept open when idle, 1 or more.
    :param max_overflow: connections above that under load, closed when they come back.
    :param timeout: seconds a borrower waits for a slot and for the server to accept it.
    :param use_lifo: hand out the most recently used idle connection first, so that the
        others can age out.
    :param max_waiting: longest queue; a further borrower fails at once. ``None``: no limit.
    :param max_idle: seconds after which an idle connection is closed; -1: never. There is
        no background thread: it is looked at when a connection comes back.

    Thread-safe. The remaining arguments are those of :class:`sqlalchemy.pool.Pool`.
    ``connect()`` raises :class:`~pooldaemon.exceptions.PoolTimeout` when no slot became free
    in time, and :class:`~pooldaemon.exceptions.TooManyWaiters` when the queue is full.
    """

    def __init__(
        self,
        creator: Any,
        pool_size: int = 10,
        max_overflow: int = 0,
        timeout: float = 30.0,
        use_lifo: bool = True,
        max_waiting: int | None = None,
        max_idle: float = -1,
        **kw: Any,
    ) -> None:
        super().__init__(creator, **kw)
        self.cap = pool_size + max_overflow
        self._keep = pool_size
        self._timeout = timeout
        self._use_lifo = use_lifo
        self._max_waiting = max_waiting
        self._max_idle = max_idle
        self._generation = 0
        self._lock = threading.Lock()
        self._idle: deque[Slot] = deque()
        self._empty = deque(Slot(self, connect=False) for _ in range(self.cap))
        self._returned: deque[Slot] = deque()
        self._waiters: deque[_Waiter] = deque()
        self._holders: dict[Slot, tuple[str, float]] = {}

    # -- borrowing --------------------------------------------------------------------

    def _do_get(self) -> Slot:
        now = time.monotonic()
        slot = self._take_or_wait(now)
        self._holders[slot] = (threading.current_thread().name, time.monotonic())
        slot.deadline = now + self._timeout
        if slot.dbapi_connection is not None and not self._is_fit(slot):
            slot.close()
        if slot.dbapi_connection is None:  # SQLAlchemy connects it as soon as we return
            slot.generation = self._generation
            lifetime = self._recycle * (1 - RECYCLE_JITTER * random.random())
            slot.expires = time.monotonic() + lifetime if self._recycle >= 0 else float("inf")
        return slot

    def _take_or_wait(self, now: float) -> Slot:
        try:
            with self._lock:
                self._collect()
                # Whoever waits came earlier: a newcomer may not pass, even if a slot is free.
                if not self._waiters and (self._idle or self._empty):
                    return self._take()
                if self._max_waiting is not None and len(self._waiters) >= self._max_waiting:
                    raise TooManyWaiters(
                        f"{self.status()}: the queue is full (max_waiting={self._max_waiting})"
                    )
                waiter = _Waiter()
                self._waiters.append(waiter)
        finally:
            self._hand_over()
        return self._wait(waiter, now)

    def _wait(self, waiter: _Waiter, started: float) -> Slot:
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

    def _is_fit(self, slot: Slot) -> bool:
        return (
            slot.generation == self._generation
            and time.monotonic() < slot.expires
            and self._dialect._do_ping_w_event(slot.dbapi_connection)  # type: ignore[arg-type]
        )

    # -- giving back ------------------------------------------------------------------

    def _do_return_conn(self, record: Any) -> None:
        slot: Slot = record
        self._holders.pop(slot, None)
        if slot.dbapi_connection is not None and not self._is_worth_keeping(slot):
            slot.close()
        slot.idle_since = time.monotonic()
        # The garbage collector may give back a dead thread's connection at any line, also
        # while this very thread holds the lock: so a return is one atomic append, and
        # whoever holds the lock looks again after letting go of it.
        self._returned.append(slot)
        self._hand_over()
        self._close_stale()

    def _is_worth_keeping(self, slot: Slot) -> bool:
        if slot.generation != self._generation or getattr(slot.dbapi_connection, "broken", False):
            return False
        # Above pool_size only waiters justify keeping a connection open.
        return len(self._idle) < self._keep or bool(self._waiters)

    def _hand_over(self) -> None:
        """Give returned and free slots to those who wait, the longest waiting first."""
        while (self._returned or self._can_serve()) and self._lock.acquire(blocking=False):
            try:
                self._collect()
                while self._can_serve():
                    waiter = self._waiters.popleft()
                    waiter.slot = self._take()
                    waiter.signal.release()
            finally:
                self._lock.release()

    def _can_serve(self) -> bool:
        return bool(self._waiters and (self._idle or self._empty))

    def _collect(self) -> None:
        """Sort returned slots; the lock is held."""
        while self._returned:
            slot = self._returned.popleft()
            (self._empty if slot.dbapi_connection is None else self._idle).append(slot)

    def _take(self) -> Slot:
        """The next free slot, rather one with a connection; the lock is held."""
        if self._idle:
            return self._idle.pop() if self._use_lifo else self._idle.popleft()
        return self._empty.popleft()

    # -- closing ----------------------------------------------------------------------

    def dispose(self) -> None:
        """Close idle connections now, and those in use when they come back.

        The slots and the queue stay, so that the cap holds while old connections are out.
        """
        with self._lock:
            self._generation += 1
            self._collect()
            idle = list(self._idle)
            self._idle.clear()
        self._close_and_free(idle)

    def _close_stale(self) -> None:
        limit = time.monotonic() - self._max_idle
        # Not waited for: the garbage collector may have brought us here, see above.
        if self._max_idle < 0 or not self._idle or not self._lock.acquire(blocking=False):
            return
        try:
            stale = [slot for slot in self._idle if slot.idle_since < limit]
            for slot in stale:
                self._idle.remove(slot)
        finally:
            self._lock.release()
        self._close_and_free(stale)

    def _close_and_free(self, slots: list[Slot]) -> None:
        for slot in slots:
            slot.close()
            self._returned.append(slot)
        self._hand_over()

    # -- telling ----------------------------------------------------------------------

    def status(self) -> str:
        return (
            f"pool {self._orig_logging_name or hex(id(self))}: {len(self._holders)} in use, "
            f"{len(self._idle)} idle, {len(self._waiters)} waiting, cap {self.cap}"
        )

    def _timed_out(self, waited: float) -> PoolTimeout:
        now = time.monotonic()
        holders = ", ".join(
            f"{thread} for {now - since:.1f} s" for thread, since in list(self._holders.values())
        )
        return PoolTimeout(
            f"{self.status()}: no connection became free in {waited:.1f} s "
            f"(timeout={self._timeout:g}). Held by: {holders or 'nobody'}. "
            "Give connections back sooner (auto_close_db), or raise pool_size or timeout."
        )
