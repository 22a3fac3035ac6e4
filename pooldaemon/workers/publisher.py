"""Runs in the parent: has others told how the daemon is, by helpers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Publish = Callable[[dict[str, Any]], None]


@dataclass
class Publisher:
    """
    :ivar publish: runs in a helper, with what ``status`` tells.
    :ivar interval: seconds between two times.
    """

    publish: Publish
    interval: float
    _due: float = float("-inf")

    def look(
        self,
        now: float,
        describe: Callable[[], dict[str, Any]],
        fork_helper: Callable[[Callable[[], None]], None],
    ) -> None:
        """Called in every round of the main loop."""
        if now >= self._due:
            self._due = now + self.interval
            told = describe()
            fork_helper(lambda: self.publish(told))
