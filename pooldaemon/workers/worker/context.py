"""``ctx``: what a unit of work may know of its surroundings."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from pooldaemon.workers.worker.postponement import Postponement

PROGRESS_INTERVAL = 0.5
"""Seconds between a unit's reports of progress that are passed on."""

TellProgress = Callable[[str, float | None, float | None], None]
"""Takes the thread's name, how much is done and of how much; no number at the end of the unit."""


class WorkContext:
    """Given to ``perform(ctx)``. One per worker thread; thread-safe.

    :ivar name: ``"worker-1/thread-3"``.
    """

    def __init__(
        self,
        name: str,
        stop: threading.Event,
        tell: TellProgress = lambda *progress: None,
        postponement: Postponement | None = None,
    ) -> None:
        self.name = name
        self._stop = stop
        self._tell = tell
        self._postponement = postponement or Postponement()
        self._told_at: float | None = None

    @property
    def stopping(self) -> bool:
        """Whether the worker drains: a long unit should come to an end now."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep for up to *seconds*, but not past the moment the worker begins to drain.

        :returns: whether the worker is stopping.
        """
        return self._stop.wait(seconds)

    @property
    def postponed(self) -> list[Any]:
        """The keys of which :meth:`attempt` has failed in this worker, until their next one is due.

        At most 1000. Leave them out of the query that looks for work.
        """
        return self._postponement.keys

    @contextmanager
    def attempt(self, key: Hashable) -> Iterator[None]:
        """Work on one row, or whatever *key* stands for: if the block raises, it is postponed.

        For up to 10 seconds at first, then for twice as long each time, up to an hour; each time is
        shortened at random by up to half. The error goes on. Kept in the worker's memory: each
        worker process finds out for itself, and a new one tries again.

        :param key: such as a primary key.
        """
        try:
            yield
        except Exception:
            self._postponement.postpone(key)
            raise
        self._postponement.succeeded(key)

    def progress(self, done: float, total: float | None = None) -> None:
        """Say how far the unit is; ``status`` shows it. Cheap: call it as often as you like.

        :param done: in whatever unit. One that is not finite says nothing, and is passed over.
        :param total: of how much, if that is known.
        :raises TypeError: one of them is no number.
        """
        now = time.monotonic()
        if self._told_at is None or now - self._told_at >= PROGRESS_INTERVAL:
            number = _finite(done)
            if number is not None:
                self._told_at = now
                self._tell(self.name, number, None if total is None else _finite(total))

    def end_unit(self) -> None:
        """The unit is over, and its progress with it. Called by the worker."""
        if self._told_at is not None:
            self._told_at = None
            self._tell(self.name, None, None)


def _finite(value: float) -> float | None:
    """*value* as JSON can have it: numeric libraries have numbers of their own, and 0/0."""
    try:
        number = value if type(value) is int and abs(value) < 2**63 else float(value)
    except OverflowError:
        return None
    except (TypeError, ValueError):
        raise TypeError(f"progress() takes numbers, not {value!r}") from None
    return number if math.isfinite(number) else None
