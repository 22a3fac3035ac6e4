"""Runs in the child: counts the units of a worker's threads, and knows when it is idle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Activity:
    """Counts units, and knows whether a worker is idle.

    A worker is idle when the last ``perform()`` of each thread found no work *and began after* the
    last one of any thread that did: an earlier one may have missed work that this one created.

    Thread-safe.

    :param threads: the number of worker threads.
    :param on_change: called in a worker thread when the worker becomes idle or busy.
    :param clock: monotonic clock, in seconds.
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
        """Whether no thread has found work since the last unit that did some."""
        return len(self._found_nothing) == self._threads

    def running(self) -> dict[str, float]:
        """The threads that are in a unit, with its start on the clock; longest first."""
        with self._lock:
            return dict(self._begun)

    def look(self, thread: str) -> int:
        """*thread* calls ``perform()`` now.

        :returns: a number for :meth:`nothing`.
        """
        with self._lock:
            self._begun[thread] = self._clock()
            was_idle = self.idle
            self._found_nothing.discard(thread)  # it may find work, and create more
            rounds = self._rounds
        if was_idle:
            self._on_change()
        return rounds

    def ended(self, thread: str) -> None:
        """``perform()`` of *thread* has returned or raised."""
        with self._lock:
            self._begun.pop(thread, None)

    def worked(self, *, failed: bool = False) -> None:
        """A unit did some work, or failed."""
        with self._lock:
            self.units += 1
            self.failures += failed
            self._busy()

    def waiting(self) -> None:
        """There is work, but none of it is due yet."""
        with self._lock:
            self._busy()

    def nothing(self, thread: str, looked: int) -> None:
        """*thread* found no work.

        :param looked: what :meth:`look` has returned for this call of ``perform()``.
        """
        with self._lock:
            if looked == self._rounds:
                self._found_nothing.add(thread)
            idle = self.idle
        if idle:
            self._on_change()

    def _busy(self) -> None:
        self._rounds += 1
        self._found_nothing.clear()
