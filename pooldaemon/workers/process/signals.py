"""Signals as events for a main loop that waits on descriptors.

The handler only queues the signal, the main loop acts on it. Python writes the signal's number to
the wakeup descriptor, which ends the wait at once, even if the handler can't run yet.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

WITHOUT_POLL = 0.1
"""Seconds of a wait if ``poll()`` fails."""


class SignalQueue:
    """Handles *signals* by queueing them. Main thread only, one at a time per process.

    SIGHUP stays ignored if the process was started with that, as under ``nohup``.

    :param signals: the signals to queue.
    :param ignored: signals that do nothing. Not by ``SIG_IGN``, which programs that this process
        executes would inherit.
    """

    def __init__(
        self, signals: Iterable[signal.Signals], ignored: Iterable[signal.Signals] = ()
    ) -> None:
        self._arrived: deque[signal.Signals] = deque()
        self._read_end, self._write_end = os.pipe()
        for descriptor in (self._read_end, self._write_end):
            os.set_blocking(descriptor, False)
        self._previous_wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        handlers: dict[signal.Signals, Handler] = dict.fromkeys(signals, self._note)
        handlers |= dict.fromkeys(ignored, _ignore)
        if hangup_is_ignored():
            handlers.pop(signal.SIGHUP, None)
        self._handlers = handlers
        self._previous = {number: signal.signal(number, handlers[number]) for number in handlers}
        for number in ignored:
            signal.siginterrupt(number, False)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._arrived.append(signal.Signals(number))

    def wait(self, seconds: float, descriptors: Iterable[int] = ()) -> None:
        """Wait for up to *seconds* for a signal, or for input on one of *descriptors*."""
        poll = select.poll()
        for descriptor in (self._read_end, *descriptors):
            poll.register(descriptor, select.POLLIN)
        try:
            poll.poll(max(0.0, seconds) * 1000)
        except OSError:  # no memory: a loop that calls this must not spin
            time.sleep(min(max(0.0, seconds), WITHOUT_POLL))
        with suppress(OSError):
            while os.read(self._read_end, 4096):
                pass

    def take(self) -> list[signal.Signals]:
        """The signals that have arrived since the last call, in order."""
        arrived = []
        while self._arrived:
            arrived.append(self._arrived.popleft())
        return arrived

    def have_arrived(self, signals: Container[signal.Signals]) -> bool:
        """Whether one of *signals* has arrived and not been taken."""
        return any(number in signals for number in self._arrived)

    def put_back(self, signals: Iterable[int]) -> None:
        """Queue signals that were taken but not handled: :meth:`take` returns them first."""
        self._arrived.extendleft(reversed([signal.Signals(number) for number in signals]))

    def close(self) -> None:
        """Restore the previous handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_wakeup)
        self.close_descriptors()

    def leave_to_parent(self) -> None:
        """In a forked child: restore the default handlers.

        Handlers that other code has set since then are kept.
        """
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == handler:
                signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        self.close_descriptors()

    def close_descriptors(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)


def hangup_is_ignored() -> bool:
    """Whether SIGHUP is ignored, as for a process that was started with ``nohup``."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def _ignore(number: int, frame: FrameType | None) -> None:
    pass


@contextmanager
def blocked() -> Iterator[None]:
    """Block all signals of this thread: they are handled after the block."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextmanager
def held_back(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Block *signals*: they are handled after the block.

    Only useful while the process has no other thread, which would receive them.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
