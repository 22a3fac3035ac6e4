"""Runs in the parent: what a worker has told of its pools, its units under way and its commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ProgressByThread = Mapping[str, tuple[float, float | None]]


@dataclass
class _Round:
    number: int = 0
    pools: list[dict[str, Any]] = field(default_factory=list)
    units: list[tuple[str, float]] = field(default_factory=list)


class View:
    """One worker's. What is told with a heartbeat is seen once all of it has come."""

    def __init__(self) -> None:
        self._pools: list[dict[str, Any]] = []
        self._units: list[tuple[str, float]] = []
        self._coming = _Round()
        self._last_command: dict[str, Any] | None = None

    def take(self, message: Mapping[str, Any]) -> None:
        match message:
            case {"kind": "pool", "round": number, "pool": pool}:
                self._round(number).pools.append(pool)
            case {"kind": "units", "round": number, "units": units}:
                self._round(number).units.extend(units)
            case {"kind": "told", "round": number}:
                told = self._round(number)
                self._pools, self._units = told.pools, told.units
            case {"kind": "command_done", "number": number, "done": done, "refused": refused}:
                self._last_command = {"number": number, "done": done, "refused": refused}

    def _round(self, number: int) -> _Round:
        """The end of the last one may have been lost."""
        if self._coming.number != number:
            self._coming = _Round(number)
        return self._coming

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
        return {"pools": self._pools, "running": units, "last_command": self._last_command}
