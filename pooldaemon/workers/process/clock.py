"""A clock for deadlines in the supervisor and in workers, which stops while the process is stopped.

When a container is paused, a machine suspended or a debugger attached, all deadlines would pass at
once, although nothing could run in the meantime.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LATE = 0.5
"""Seconds. A main loop that is later than this counts as stopped. Shorter than the time between the
interval of heartbeats and the shortest ``heartbeat_timeout``."""


class RunningClock:
    """Monotonic seconds, without the time for which the process was stopped.

    The main loop announces when its next round will begin; the time by which it is late does not
    count. Only the main loop calls :meth:`look` and :meth:`wait`; any thread may read the clock.

    :param source: a monotonic clock, in seconds. The default does not count the time for which the
        machine is suspended, as ``CLOCK_BOOTTIME`` would.
    :param lost: seconds that an earlier clock, which this one continues, has not counted.
    """

    def __init__(self, source: Callable[[], float] = time.monotonic, lost: float = 0.0) -> None:
        self._source = source
        self._due = float("inf")
        self.lost = lost

    def __call__(self) -> float:
        return self._source() - self.lost

    def look(self) -> float:
        """A round of the main loop begins; returns the time.

        If it is late, the time since it was due does not count. That includes a round that a hook
        has blocked: nothing that was reported to the main loop meanwhile has been read, either.
        """
        late = self() - self._due
        if late > LATE:
            self.lost += late
        self._began = self()
        return self._began

    def wait(self, seconds: float) -> None:
        """The next round begins at most *seconds* after this one."""
        self._due = self._began + seconds
