"""Runs in the parent: the last complete report of a worker on its pools and running units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ProgressByThread = Mapping[str, tuple[float, float | None]]


@dataclass
class _Round:
    """One report: messages with the same number."""

    number: int = 0
    pools: list[dict[str, Any]] = field(default_factory=list)
    units: list[tuple[str, float]] = field(default_factory=list)


class View:
    """What ``status`` shows of one worker's pools, units and last command.

    A report has several messages; it is shown when the last one has arrived.
    """

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
            case {"kind": "report_end", "round": number}:
                report = self._round(number)
                self._pools, self._units = report.pools, report.units
            case {"kind": "command_done", "number": number, "done": done, "refused": refused}:
                self._last_command = {"number": number, "done": done, "refused": refused}

    def _round(self, number: int) -> _Round:
        """The report that is arriving. The last message of an earlier one may have been lost."""
        if self._coming.number != number:
            self._coming = _Round(number)
        return self._coming

    @property
    def pool_names(self) -> set[str]:
        return {pool["name"] for pool in self._pools}

    def describe(self, progress: ProgressByThread) -> dict[str, Any]:
        """For ``status``, as JSON.

        :param progress: by thread: how much is done, and of how much.
        """
        units = []
        for thread, seconds in self._units:
            done, total = progress.get(thread, (None, None))
            units.append({"thread": thread, "seconds": seconds, "done": done, "total": total})
        return {"pools": self._pools, "running": units, "last_command": self._last_command}
