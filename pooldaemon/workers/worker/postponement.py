"""Runs in the child: what has failed and is left alone for a while, so that it stands in no way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

from pooldaemon.backoff import Backoff

DELAYS = 10.0, 3600.0
"""First and longest time, in seconds, for which something that failed is left alone."""

MOST = 1000
"""Things that are remembered: they may become a list in a query. Beyond it those whose time is
nearest are forgotten."""


class Postponement:
    """Of one worker, for all its threads. Thread-safe.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: dict[Hashable, Backoff] = {}
        self._due: dict[Hashable, float] = {}

    def postpone(self, key: Hashable) -> float:
        """It has failed; returns for how long it is left alone."""
        with self._lock:
            backoff = self._failed.setdefault(key, Backoff(*DELAYS))
            delay = backoff.next_delay()
            self._due[key] = self._clock() + delay
            if len(self._due) > MOST:
                self._forget(min(self._due, key=self._due.__getitem__))
        return delay

    def succeeded(self, key: Hashable) -> None:
        if self._due:  # nearly never
            with self._lock:
                self._forget(key)

    @property
    def keys(self) -> list[Hashable]:
        """What is to be left alone now."""
        if not self._due:
            return []
        now = self._clock()
        with self._lock:
            return [key for key, due in self._due.items() if due > now]

    def _forget(self, key: Hashable) -> None:
        self._due.pop(key, None)
        self._failed.pop(key, None)
