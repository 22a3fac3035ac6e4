"""Runs in the parent: a hook in the place of the main loop, which may take its time, but not for
ever.

The main loop does not run meanwhile, and a thread that did some of its work would be there when the
hook forks. So a timer interrupts the hook once a second. That is Python's doing, between two
instructions: a call into C is not interrupted, and neither is a system call that can be restarted.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pooldaemon.workers.process.clock import RunningClock

INTERVAL = 1.0
"""Seconds between looks."""


class HookTimeoutError(Exception):
    """The hook has taken too long. Raised in it, and again each second if it goes on."""


@contextmanager
def bounded(
    name: str, seconds: float, look: Callable[[], object], clock: RunningClock | None = None
) -> Iterator[None]:
    """In the block, call *look* once a second. Main thread only; for the block ``SIGALRM`` is ours.

    :param name: the hook's, for the message.
    :param seconds: after which :class:`HookTimeoutError` is raised in the block. Those in which the
        process was suspended do not count.
    :param look: what it raises is raised in the block.
    """
    clock = clock or RunningClock()
    deadline = clock.look() + seconds
    clock.wait(INTERVAL)

    def tick(number: int, frame: FrameType | None) -> None:
        now = clock.look()
        clock.wait(INTERVAL)
        if now >= deadline:
            raise HookTimeoutError(f"{name} takes longer than {seconds:g} s")
        look()

    previous = signal.signal(signal.SIGALRM, tick)
    signal.siginterrupt(signal.SIGALRM, False)
    left, interval = signal.setitimer(signal.ITIMER_REAL, min(INTERVAL, seconds), INTERVAL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # None: it was not set by Python.
        signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)
        signal.setitimer(signal.ITIMER_REAL, left, interval)  # somebody's, from now on
