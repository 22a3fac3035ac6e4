"""Runs in the parent: a time limit for hooks, which block the main loop.

A thread could do the main loop's work meanwhile, but it would be there when the hook forks. So a
timer interrupts the hook once a second. Python handles the signal between two of its instructions:
a call into C is not interrupted, nor is a system call that can be restarted.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pooldaemon.workers.process.clock import RunningClock

INTERVAL = 1.0
"""Seconds between two interruptions."""


class HookTimeoutError(Exception):
    """The hook has taken too long. Raised in the hook, and again each second if it catches it."""


@contextmanager
def bounded(
    name: str, seconds: float, look: Callable[[], object], clock: RunningClock | None = None
) -> Iterator[None]:
    """Limit the time of the block, and call *look* in it once a second.

    Main thread only. Uses ``SIGALRM`` and the real-time timer; the block must not.

    :param name: the hook's name, for the message.
    :param seconds: the limit. Time for which the process was suspended does not count.
    :param look: what it raises propagates from the block.
    :param clock: default: a new one.
    :raises HookTimeoutError: in the block, after *seconds*.
    """
    clock = clock or RunningClock()
    deadline = clock.look() + seconds
    clock.wait(INTERVAL)

    def tick(number: int, frame: FrameType | None) -> None:
        now = clock.look()
        clock.wait(INTERVAL)
        if now >= deadline:
            raise HookTimeoutError(f"{name} has taken longer than {seconds:g} s")
        look()

    previous = signal.signal(signal.SIGALRM, tick)
    signal.siginterrupt(signal.SIGALRM, False)
    left, interval = signal.setitimer(signal.ITIMER_REAL, min(INTERVAL, seconds), INTERVAL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # None: the previous handler was not set by Python.
        signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)
        signal.setitimer(signal.ITIMER_REAL, left, interval)  # a timer that was set before
