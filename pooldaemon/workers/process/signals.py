"""Signals as events for a main loop that waits on descriptors.

A handler only notes the signal; the loop decides. The signal number that Python writes to the
wakeup descriptor ends the wait at once, also when the handler itself has to wait.
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
"""Seconds between looks while the system can't wait for descriptors. A signal ends this too."""


class SignalQueue:
    """Collect *signals* and wait for them. Main thread only, one at a time per process.

    A SIGHUP that is ignored when this begins, as under ``nohup``, stays ignored.

    :param unheeded: those that shall do nothing. Not by ``SIG_IGN``, which programs that are
        executed from here would inherit.
    """

    def __init__(
        self, signals: Iterable[signal.Signals], unheeded: Iterable[signal.Signals] = ()
    ) -> None:
        self._arrived: deque[signal.Signals] = deque()
        self._read_end, self._write_end = os.pipe()
        for descriptor in (self._read_end, self._write_end):
            os.set_blocking(descriptor, False)
        self._previous_wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        handlers: dict[signal.Signals, Handler] = dict.fromkeys(signals, self._note)
        handlers |= dict.fromkeys(unheeded, _pass_over)
        if hangup_is_ignored():
            handlers.pop(signal.SIGHUP, None)
        self._handlers = handlers
        self._previous = {number: signal.signal(number, handlers[number]) for number in handlers}
        for number in unheeded:
            signal.siginterrupt(number, False)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._arrived.append(signal.Signals(number))

    def wait(self, seconds: float, descriptors: Iterable[int] = ()) -> None:
        """Wait for a signal, or input on one of *descriptors*. Raises nothing."""
        poll = select.poll()
        for descriptor in (self._read_end, *descriptors):
            poll.register(descriptor, select.POLLIN)
        try:
            poll.poll(max(0.0, seconds) * 1000)
        except OSError:  # no memory: whoever calls this in a loop must not spin
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
        """Whether one of these is to be taken."""
        return any(number in signals for number in self._arrived)

    def put_back(self, signals: Iterable[int]) -> None:
        """They have arrived, and were not heeded: :meth:`take` returns them first."""
        self._arrived.extendleft(reversed([signal.Signals(number) for number in signals]))

    def close(self) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_wakeup)
        self.close_descriptors()

    def leave_to_parent(self) -> None:
        """In a forked child: the defaults again, instead of the parent's handlers.

        Those stay that somebody else has set meanwhile.
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
    """Whether whoever started this process wanted it to outlive its terminal, as ``nohup`` does."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def _pass_over(number: int, frame: FrameType | None) -> None:
    pass


@contextmanager
def blocked() -> Iterator[None]:
    """No signal arrives in the block; what comes meanwhile does so after it."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextmanager
def held_back(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """In this block none of *signals* comes; one that was sent meanwhile comes after it.

    Main thread only: another thread of the process would get them.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
