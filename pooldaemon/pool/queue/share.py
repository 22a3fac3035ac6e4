"""A pool's part in the limiter of its process, and the queue of those who wait in it."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from pooldaemon.pool.queue.borrowers import Borrower
from pooldaemon.pool.queue.entry import PoolEntry
from pooldaemon.pool.queue.limiter import LOOK_AGAIN, ConnectionLimiter

LOOK_RARELY = 1.0
"""Seconds after which a waiting thread looks around where there is no limit of the process. It is
woken for all that is put back in order; this is for what was not, by an exception in between."""


class Waiter:
    """A thread in the queue. ``signal`` is held until an entry is handed over, or there is
    something to look at."""

    __slots__ = ("__weakref__", "borrower", "cancelled", "entry", "signal", "since")

    def __init__(self, borrower: Borrower, since: float) -> None:
        self.borrower = borrower
        self.since = since
        self.entry: PoolEntry | None = None
        self.cancelled = False
        self.signal = threading.Lock()
        self.signal.acquire()

    def is_waiting(self) -> bool:
        """Neither served nor cancelled."""
        return self.entry is None and not self.cancelled

    def wake(self) -> None:
        with suppress(RuntimeError):  # it is awake, and has not looked yet
            self.signal.release()


class Queue:
    """Those who wait, in their order.

    A waiter belongs to the frame in which it waits: one that an exception has ended is in the queue
    no more, whatever the exception kept from being done. Thread-safe, without a lock: removing a
    waiter is atomic, and succeeds for one only: who hands over, who cancels, or itself.

    :ivar refs: false if nobody waits. For the hot paths.
    """

    def __init__(self) -> None:
        self.refs: deque[weakref.ref[Waiter]] = deque()

    def __len__(self) -> int:
        return len(self.all())

    def all(self) -> list[Waiter]:
        return [waiter for ref in self.refs.copy() if (waiter := ref()) is not None]

    def add(self, waiter: Waiter) -> None:
        self.refs.append(weakref.ref(waiter))

    def restore(self, waiter: Waiter) -> None:
        """Let it be the first."""
        self.refs.appendleft(weakref.ref(waiter))

    def first(self) -> Waiter | None:
        while self.refs:
            try:
                ref = self.refs[0]
            except IndexError:
                break
            if (waiter := ref()) is not None:
                return waiter
            with suppress(ValueError):
                self.refs.remove(ref)
        return None

    def remove(self, waiter: Waiter) -> bool:
        """``False``: it has been served or cancelled."""
        try:
            self.refs.remove(weakref.ref(waiter))
        except ValueError:
            return False
        return True

    def up_to(self, waiter: Waiter) -> list[Waiter]:
        """It and those before it."""
        waiters = self.all()
        return waiters[: waiters.index(waiter) + 1] if waiter in waiters else []


class PoolLimiter:
    """
    :param idle, empty: the pool's, where others change them at any moment.
    :param serve: gives free entries to those who wait.
    :param put: returns an entry.
    :param reclaim: closes what threads have left that ended without giving back, and what was lost.
    """

    def __init__(
        self,
        limiter: ConnectionLimiter,
        idle: deque[PoolEntry],
        empty: deque[PoolEntry],
        queue: Queue,
        *,
        serve: Callable[[], None],
        put: Callable[[PoolEntry], None],
        reclaim: Callable[[], None],
    ) -> None:
        self._limiter = limiter
        self._idle = idle
        self._empty = empty
        self._queue = queue
        self.serve = serve
        self._put = put
        self.reclaim = reclaim
        self.paused = False
        """The pool lends nothing just now."""

    def claim(self) -> None:
        """Somebody waits here, perhaps for a permit."""
        if self._limiter.limit is not None:
            self._limiter.enter(self)

    def renounce(self) -> None:
        """Nobody does."""
        self._limiter.leave(self)

    def lacks_permit(self) -> bool:
        """Whether it is the limit of the process that keeps this pool from opening more."""
        return self._limiter.limit is not None and bool(self._empty)

    def first_since(self) -> float | None:
        """Since when the first in the queue has waited."""
        return None if (first := self._queue.first()) is None else first.since

    def waiting_since(self) -> float | None:
        # At its own cap a permit is no use.
        return self.first_since() if self._empty and not self.paused else None

    def borrowers(self) -> set[Borrower]:
        return {waiter.borrower for waiter in self._queue.all()}

    def no_room(self) -> str:
        """What an error adds, if there is a place under the pool's own cap."""
        return f" No room: {self._limiter}." if self.lacks_permit() else ""

    def can_serve(self) -> bool:
        """Whether somebody waits for what is there."""
        since = self.first_since()
        if since is None:
            return False
        return bool(self._idle) or (bool(self._empty) and self._limiter.has_room(since))

    def is_owed(self) -> bool:
        """Whether a thread elsewhere has waited for a permit longer than any here."""
        own = self.first_since()
        other = self._limiter.first_since(apart_from=self)
        return other < (float("inf") if own is None else own)

    def sleep(self, waiter: Waiter, timeout: float, look: Callable[[Waiter], None]) -> None:
        """Return when *waiter* got an entry or was cancelled, or after *timeout* seconds.

        :param look: puts in order what may keep it from being served.
        """
        limited = self._limiter.limit is not None
        deadline, left = time.monotonic() + timeout, timeout
        while True:
            if limited and self._empty and waiter.entry is None:
                self._limiter.make_room()
            pause = min(left, LOOK_AGAIN if limited else LOOK_RARELY)
            waiter.signal.acquire(timeout=max(0.0, pause))
            if waiter.is_waiting():
                look(waiter)
            if left <= 0 or not waiter.is_waiting():
                return
            left = deadline - time.monotonic()

    def idle_since(self) -> float | None:
        try:
            return self._idle[0].idle_since
        except IndexError:
            return None

    def close_idle(self) -> None:
        try:
            entry = self._idle.popleft()
        except IndexError:
            return
        entry.drop("process limit")
        self._put(entry)
