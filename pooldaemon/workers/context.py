"""``ctx``: what a unit of work may know of its surroundings."""

from __future__ import annotations

import threading


class WorkContext:
    """Given to ``perform(ctx)``. One per worker thread; thread-safe.

    :ivar name: ``"worker-1/thread-3"``.
    """

    def __init__(self, name: str, stop: threading.Event) -> None:
        self.name = name
        self._stop = stop

    @property
    def stopping(self) -> bool:
        """Whether the worker drains: a long unit should come to an end now."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep for up to *seconds*, but not past the moment the worker begins to drain.

        :returns: whether the worker is stopping.
        """
        return self._stop.wait(seconds)
