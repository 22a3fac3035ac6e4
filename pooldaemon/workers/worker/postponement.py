"""Runs in the child: work that has failed is postponed, so that it does not hold up other work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

from pooldaemon.backoff import Backoff

DELAYS = 10.0, 3600.0
"""First and longest delay, in seconds."""

MAX_KEYS = 1000
"""Postponed keys at a time: they may become a list in a query. When there are more, the key that is
due first is dropped."""


class Postponement:
    """The postponed keys of one worker process. Thread-safe.

    :param clock: monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: dict[Hashable, Backoff] = {}
        self._due: dict[Hashable, float] = {}

    def postpone(self, key: Hashable) -> float:
        """*key* has failed: postpone it.

        :returns: the delay, in seconds.
        """
        with self._lock:
            backoff = self._failed.setdefault(key, Backoff(*DELAYS))
            delay = backoff.next_delay()
            self._due[key] = self._clock() + delay
            if len(self._due) > MAX_KEYS:
                self._forget(min(self._due, key=self._due.__getitem__))
        return delay

    def succeeded(self, key: Hashable) -> None:
        """Forget the failures of *key*."""
        if self._due:  # usually empty: no lock for each unit
            with self._lock:
                self._forget(key)

    @property
    def keys(self) -> list[Hashable]:
        """The keys whose delay is not over."""
        if not self._due:
            return []
        now = self._clock()
        with self._lock:
            return [key for key, due in self._due.items() if due > now]

    def _forget(self, key: Hashable) -> None:
        self._due.pop(key, None)
        self._failed.pop(key, None)
