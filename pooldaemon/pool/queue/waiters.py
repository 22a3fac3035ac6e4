"""Threads that wait for a connection, in order of arrival."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pooldaemon.pool.queue.borrowers import Borrower

if TYPE_CHECKING:
    from pooldaemon.pool.queue.entry import PoolEntry


class Waiter:
    """A thread in the queue.

    :ivar signal: a lock on which the thread sleeps; released when it got an entry, or has to look.
    """

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


def _nobody() -> None:
    """A weak reference to no waiter."""


class WaitQueue:
    """The waiters in order of arrival.

    The queue has weak references; the frame in which a thread waits has the strong one. So a waiter
    that an exception has ended leaves the queue without further code. Thread-safe, without a lock:
    removing a waiter is atomic and succeeds only once, for the thread that hands over, for the one
    that cancels, or for the waiter itself.

    :ivar refs: empty if nobody waits; looked at directly on the hot paths.
    :ivar poller: a weak reference to a waiter that looks for connections again and again; see
        :mod:`~pooldaemon.pool.queue.time_slices`. Any waiter will do: whoever comes when there is
        none takes that on, because it is awake. When it leaves, the last one follows, because it
        waits longest.
    """

    def __init__(self) -> None:
        self.refs: deque[weakref.ref[Waiter]] = deque()
        self.poller: Callable[[], Waiter | None] = _nobody

    def __len__(self) -> int:
        return len(self.all())

    def __contains__(self, waiter: Waiter) -> bool:
        return weakref.ref(waiter) in self.refs

    def all(self) -> list[Waiter]:
        return [waiter for ref in self.refs.copy() if (waiter := ref()) is not None]

    def add(self, waiter: Waiter) -> None:
        ref = weakref.ref(waiter)
        self.refs.append(ref)
        if not self.has_poller():
            self.poller = ref

    def has_poller(self) -> bool:
        poller = self.poller()
        return poller is not None and poller.is_waiting()

    def restore(self, waiter: Waiter) -> None:
        """Put it back at the head."""
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
        """Returns ``False`` if it has been served or cancelled already."""
        try:
            self.refs.remove(weakref.ref(waiter))
        except ValueError:
            return False
        if self.poller() is waiter:
            self._replace_poller()
        return True

    def _replace_poller(self) -> None:
        self.poller = _nobody
        with suppress(IndexError):
            self.poller = self.refs[-1]
        if (poller := self.poller()) is not None:
            poller.wake()

    def up_to(self, waiter: Waiter) -> list[Waiter]:
        """The waiter and all before it."""
        waiters = self.all()
        return waiters[: waiters.index(waiter) + 1] if waiter in waiters else []
