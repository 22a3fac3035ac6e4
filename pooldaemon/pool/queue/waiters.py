"""Threads that wait for a connection, in order of arrival."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from contextlib import suppress

from pooldaemon.pool.queue.borrowers import Borrower
from pooldaemon.pool.queue.entry import PoolEntry


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


class WaitQueue:
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
