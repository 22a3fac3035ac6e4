"""``ctx``, the argument of ``perform(ctx)``."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from pooldaemon.workers.worker.postponement import Postponement

PROGRESS_INTERVAL = 0.5
"""Seconds. Calls of :meth:`WorkContext.progress` in between are not reported."""

ReportProgress = Callable[[str, float | None, float | None], None]
"""Takes the thread's name, *done* and *total*. *done* is ``None`` at the end of the unit."""


class WorkContext:
    """The argument of ``perform(ctx)``: one for each worker thread. Thread-safe.

    :ivar name: the worker's and the thread's: ``"worker-1/thread-3"``.
    """

    def __init__(
        self,
        name: str,
        stop: threading.Event,
        report: ReportProgress = lambda *progress: None,
        postponement: Postponement | None = None,
    ) -> None:
        self.name = name
        self._stop = stop
        self._report = report
        self._postponement = postponement or Postponement()
        self._reported_at: float | None = None

    @property
    def stopping(self) -> bool:
        """Whether the worker is draining. A long unit should end soon: when the daemon stops, it is
        killed after ``graceful_timeout``."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep for *seconds*, or until the worker begins to drain.

        :returns: whether the worker is draining.
        """
        return self._stop.wait(seconds)

    @property
    def postponed(self) -> list[Any]:
        """The keys for which :meth:`attempt` has failed in this worker and whose delay is not over.

        At most 1000. Exclude them in the query that looks for work.
        """
        return self._postponement.keys

    @contextmanager
    def attempt(self, key: Hashable) -> Iterator[None]:
        """Postpone *key* if the block raises an ``Exception``. The exception propagates.

        The first delay is up to 10 seconds; each further failure doubles it, up to an hour. Each
        delay is shortened at random by up to half. A block that succeeds resets it. The delays are
        in the memory of one worker process: other workers and its replacement do not know them.

        :param key: what the block works on, such as a row's primary key.
        """
        try:
            yield
        except Exception:
            self._postponement.postpone(key)
            raise
        self._postponement.succeeded(key)

    def progress(self, done: float, total: float | None = None) -> None:
        """Report how far the unit is, for ``status`` and ``top``.

        Cheap: a call within half a second of the last report does nothing.

        :param done: the amount done, in any unit. NaN and infinity are ignored.
        :param total: the whole amount, in the same unit; ``None``: unknown.
        :raises TypeError: *done* or *total* is not a number.
        """
        now = time.monotonic()
        if self._reported_at is None or now - self._reported_at >= PROGRESS_INTERVAL:
            number = _finite(done)
            if number is not None:
                self._reported_at = now
                self._report(self.name, number, None if total is None else _finite(total))

    def end_unit(self) -> None:
        """Report the end of a unit that has reported progress. Called by the worker."""
        if self._reported_at is not None:
            self._reported_at = None
            self._report(self.name, None, None)


def _finite(value: float) -> float | None:
    """*value* as a number that JSON can represent; ``None`` if there is none, as for NaN. Numeric
    libraries have number types of their own."""
    try:
        number = value if type(value) is int and abs(value) < 2**63 else float(value)
    except OverflowError:
        return None
    except (TypeError, ValueError):
        raise TypeError(f"progress() takes numbers, not {value!r}") from None
    return number if math.isfinite(number) else None
