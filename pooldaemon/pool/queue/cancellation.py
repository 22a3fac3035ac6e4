"""Cancels waits for a connection, for work whose result nobody wants any more.

A thread can't be cancelled, but its wait for a connection can. A context variable says to which
work the thread belongs: asyncio and asgiref copy the context into the threads in which they run
synchronous code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Cancellation:
    """The waits of one piece of work, in any threads.

    Thread-safe, without a lock: ``cancel()`` sets a flag before it looks who waits, and a thread
    that begins to wait looks at the flag afterwards.
    """

    def __init__(self) -> None:
        self._cancels: set[Callable[[], None]] = set()
        self._cancelled = False

    def cancel(self) -> None:
        """End the present waits, and each later one as it begins."""
        self._cancelled = True
        for cancel in self._cancels.copy():
            cancel()

    def begin(self, cancel: Callable[[], None]) -> None:
        self._cancels.add(cancel)
        if self._cancelled:
            cancel()

    def end(self, cancel: Callable[[], None]) -> None:
        self._cancels.discard(cancel)


_cancellation: ContextVar[Cancellation | None] = ContextVar("pooldaemon_waits", default=None)


@contextmanager
def cancellable() -> Iterator[Cancellation]:
    """Waits for a connection that begin in this block can be cancelled."""
    cancellation = Cancellation()
    token = _cancellation.set(cancellation)
    try:
        yield cancellation
    finally:
        _cancellation.reset(token)


@contextmanager
def waiting(cancel: Callable[[], None]) -> Iterator[None]:
    """A thread waits in this block; *cancel* ends that wait from another thread."""
    if (cancellation := _cancellation.get()) is None:
        yield
        return
    cancellation.begin(cancel)
    try:
        yield
    finally:
        cancellation.end(cancel)
