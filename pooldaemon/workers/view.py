"""Runs in the parent: what a worker has told of its pools, its units under way and its orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ProgressByThread = Mapping[str, tuple[float, float | None]]


class View:
    """One worker's. What is told with a heartbeat is seen once all of it has come."""

    def __init__(self) -> None:
        self._pools: list[dict[str, Any]] = []
        self._units: list[tuple[str, float]] = []
        self._coming_pools: list[dict[str, Any]] = []
        self._coming_units: list[tuple[str, float]] = []
        self._order: dict[str, Any] | None = None

    def take(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"kind": "pool", "pool": pool}:
                self._coming_pools.append(pool)
            case {"kind": "units", "units": units}:
                self._coming_units += units
            case {"kind": "told"}:
                self._pools, self._units = self._coming_pools, self._coming_units
                self._coming_pools, self._coming_units = [], []
            case {"kind": "obeyed", "number": number, "done": done, "refused": refused}:
                self._order = {"number": number, "done": done, "refused": refused}

    @property
    def pool_names(self) -> set[str]:
        return {pool["name"] for pool in self._pools}

    def describe(self, progress: ProgressByThread) -> dict[str, Any]:
        """As JSON takes it.

        :param progress: by thread: what is done, and of how much.
        """
        units = []
        for thread, seconds in self._units:
            done, total = progress.get(thread, (None, None))
            units.append({"thread": thread, "seconds": seconds, "done": done, "total": total})
        return {"pools": self._pools, "running": units, "order": self._order}
