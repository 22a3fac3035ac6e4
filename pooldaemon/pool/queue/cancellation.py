"""Ending the waits for a connection of work that nobody wants any more.

A thread can't be cancelled, but its wait for a connection can. Its context tells to which work it
belongs: asyncio and asgiref take that along into the threads where they run synchronous code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Cancellation:
    """The waits of one piece of work, in whichever threads.

    Thread-safe, without a lock: ``cancel()`` says so before it looks who waits, and who begins to
    wait looks afterwards.
    """

    def __init__(self) -> None:
        self._cancels: set[Callable[[], None]] = set()
        self._cancelled = False

    def cancel(self) -> None:
        """End those that there are now, and each later one as it begins."""
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
    """What begins to wait for a connection in this block can be cancelled."""
    cancellation = Cancellation()
    token = _cancellation.set(cancellation)
    try:
        yield cancellation
    finally:
        _cancellation.reset(token)


@contextmanager
def waiting(cancel: Callable[[], None]) -> Iterator[None]:
    """In this block a thread waits, which *cancel* ends from another one."""
    if (cancellation := _cancellation.get()) is None:
        yield
        return
    cancellation.begin(cancel)
    try:
        yield
    finally:
        cancellation.end(cancel)
