"""Runs in the parent: has helper processes publish the daemon's status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pooldaemon.conf import PUBLISH_INTERVAL

Publish = Callable[[dict[str, Any]], None]


@dataclass
class Publisher:
    """
    :ivar publish: runs in a helper, with the answer to ``status``; ``None``: nothing is published.
    :ivar interval: seconds between two times.
    """

    publish: Publish | None = None
    interval: float = PUBLISH_INTERVAL
    _due: float = float("-inf")

    def look(
        self,
        now: float,
        describe: Callable[[], dict[str, Any]],
        fork_helper: Callable[[Callable[[], None]], None],
    ) -> None:
        """Called in every round of the main loop."""
        if self.publish is not None and now >= self._due:
            self._due = now + self.interval
            fork_helper(partial(self.publish, describe()))
