"""What a worker tells with each heartbeat, as plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Report:
    """A worker at one moment. Counters count from its start.

    :ivar idle: every thread's last look found nothing to do.
    :ivar units: done; :ivar failures: of them, those that failed.
    :ivar busy: threads inside a unit.
    :ivar longest: the name of the thread whose unit runs longest, and for how many seconds.
    :ivar connections: the most that one pool has had open.
    :ivar rss: memory in use, in bytes.
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
        """From a message. What is not known here is left out: a reload may change the version."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in message.items() if name in known}
        if values.get("longest"):
            values["longest"] = tuple(values["longest"])
        return cls(**values)

    @property
    def last_unit(self) -> str | None:
        """The unit that had been running longest, in words."""
        return self.longest and f"in {self.longest[0]} for {self.longest[1]:.1f} s"
