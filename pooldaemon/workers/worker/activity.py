"""What a worker's threads have done, and whether there is nothing left for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Activity:
    """Counts units, and knows when all threads of a worker have found no work.

    A worker is idle when each thread's last look found nothing *and began after* the last unit
    that did something: an earlier look may have missed what that unit brought about.

    Thread-safe.

    :param threads: how many there are.
    :param on_change: called, from a worker thread, when idle turns to busy or back.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        threads: int,
        on_change: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threads = threads
        self._on_change = on_change
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._lock = threading.Lock()
        self._rounds = 0
        self._found_nothing: set[str] = set()
        self.units = 0
        self.failures = 0

    @property
    def idle(self) -> bool:
        return len(self._found_nothing) == self._threads

    def running(self) -> dict[str, float]:
        """The threads that are inside a unit, and since when, the longest first."""
        with self._lock:
            return dict(self._begun)

    def look(self, thread: str) -> int:
        """*thread* begins a unit, or looks for one; give the answer to :meth:`nothing`."""
        with self._lock:
            self._begun[thread] = self._clock()
            was_idle = self.idle
            self._found_nothing.discard(thread)  # it may find some, and make more
            rounds = self._rounds
        if was_idle:
            self._on_change()
        return rounds

    def ended(self, thread: str) -> None:
        """The unit that *thread* has begun is over, whatever came of it."""
        with self._lock:
            self._begun.pop(thread, None)

    def worked(self, *, failed: bool = False) -> None:
        """A unit did something, or failed, or knows of work to come."""
        with self._lock:
            self.units += 1
            self.failures += failed
            self._busy()

    def waiting(self) -> None:
        """There is work, though none that is due."""
        with self._lock:
            self._busy()

    def nothing(self, thread: str, looked: int) -> None:
        """*thread* found no work, in a look that began with *looked*."""
        with self._lock:
            if looked == self._rounds:
                self._found_nothing.add(thread)
            idle = self.idle
        if idle:
            self._on_change()

    def _busy(self) -> None:
        self._rounds += 1
        self._found_nothing.clear()
