"""Runs in the parent: how many connections each worker may have."""

from __future__ import annotations

from dataclasses import dataclass

RESERVE = 1
"""Connections of a budget that no worker gets: for helpers, and for the canary of a reload."""


@dataclass(frozen=True)
class Budget:
    """Connections per database.

    :ivar total: for the whole daemon; ``None``: no limit but the workers' own.
    :ivar each: the most for one worker; ``None``: what the pools' settings say.
    """

    total: int | None = None
    each: int | None = None

    @property
    def most_workers(self) -> float:
        """How many workers it is enough for."""
        return float("inf") if self.total is None else self.total - RESERVE

    def share(self, workers: int) -> int | None:
        """The cap of one among so many."""
        if self.total is None:
            return self.each
        fair = (self.total - RESERVE) // workers
        return fair if self.each is None else min(fair, self.each)

    def has_room(self, in_use: int, more: int) -> bool:
        """Whether a worker may be added to those that have *in_use* together."""
        return self.total is None or in_use + more <= self.total - RESERVE
