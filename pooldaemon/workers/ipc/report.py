"""What a worker reports in each heartbeat, as plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Report:
    """A worker at one moment. Counters start at 0 with the process.

    :ivar idle: no thread has found work since the last unit that did some.
    :ivar units: units of work that have ended, including failed ones.
    :ivar failures: units of work that have failed.
    :ivar busy: how many threads are in a unit.
    :ivar longest: the thread whose unit has been running longest, and for how many seconds.
    :ivar connections: the most connections that a single pool has had open at a time.
    :ivar rss: resident memory, in bytes.
    """

    idle: bool = False
    units: int = 0
    failures: int = 0
    busy: int = 0
    longest: tuple[str, float] | None = None
    connections: int = 0
    rss: int = 0

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Report:
        """From a message. Unknown keys are ignored: the worker may run another version of this
        package than the supervisor, after a reload."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in message.items() if name in known}
        if values.get("longest"):
            values["longest"] = tuple(values["longest"])
        return cls(**values)

    @property
    def last_unit(self) -> str | None:
        """The unit that had been running longest, for a message."""
        return self.longest and f"in {self.longest[0]} for {self.longest[1]:.1f} s"
