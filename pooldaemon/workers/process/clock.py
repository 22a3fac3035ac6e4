"""A clock for deadlines, in the supervisor and in workers: it stands still while the process does.

A container is paused, a machine suspended, a debugger attached: afterwards all deadlines would have
passed at once, though nobody had a chance to keep them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LATE = 0.5
"""Seconds that a main loop may be late. It is later than that only if it did not run. Less than
what lies between a worker's reports and the shortest ``heartbeat_timeout``."""


class RunningClock:
    """Monotonic seconds, without those in which the process did not run.

    The main loop says when it will look again; what it is late then has not counted for anybody. It
    may be read in any thread.

    :param source: monotonic seconds. That of the system is not ``CLOCK_BOOTTIME``, so the sleep of
        the machine does not count in it to begin with.
    :param lost: seconds that have not counted so far, where another one is continued.
    """

    def __init__(self, source: Callable[[], float] = time.monotonic, lost: float = 0.0) -> None:
        self._source = source
        self._due = float("inf")
        self.lost = lost

    def __call__(self) -> float:
        return self._source() - self.lost

    def look(self) -> float:
        """A round of the main loop begins: leave out what it is late, and return the time.

        Of the time until the next one only as much counts as it has told: a hook that holds up the
        loop also holds up everything that is told to it.
        """
        late = self() - self._due
        if late > LATE:
            self.lost += late
        self._began = self()
        return self._began

    def wait(self, seconds: float) -> None:
        """The next round begins in so many seconds at the latest."""
        self._due = self._began + seconds
