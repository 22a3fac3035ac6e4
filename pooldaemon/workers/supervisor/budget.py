"""Runs in the parent: the daemon's connections, divided among its workers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pooldaemon.conf import ALL, PerDatabase, of_database

RESERVE = 1
"""Connections of a budget that no worker gets: for helpers, and for the preflight of a reload."""


@dataclass(frozen=True)
class Budget:
    """
    :ivar total: connections of the whole daemon to each database; ``None``: no limit but the
        workers' own.
    :ivar each: the most for one worker, by database; where there is none, what the pool's settings
        say.
    """

    total: int | None = None
    each: PerDatabase = field(default_factory=dict)

    @property
    def most_workers(self) -> float:
        """The number of workers for which it is enough."""
        return float("inf") if self.total is None else self.total - RESERVE

    def share(self, workers: int) -> PerDatabase:
        """The caps of one of *workers* workers, by database."""
        if self.total is None:
            return self.each
        fair = (self.total - RESERVE) // workers
        return {ALL: fair} | {alias: min(fair, number) for alias, number in self.each.items()}

    def has_room(self, caps: Iterable[PerDatabase]) -> bool:
        """Whether workers with these *caps* stay within the total together."""
        if self.total is None:
            return True
        every = list(caps)
        return all(
            sum(of_database(one, alias) or 0 for one in every) <= self.total - RESERVE
            for alias in {ALL}.union(*every)
        )
