"""What the page shows: published statuses, and those from control sockets."""

from __future__ import annotations

import datetime
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.core.management.base import CommandError
from django.db.models import DurationField, ExpressionWrapper, F, Prefetch
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from pooldaemon.console.daemons import Daemon, configured_directory, find
from pooldaemon.dashboard.models import Order, Snapshot
from pooldaemon.dashboard.publishing import COMMAND_LIFETIME, source_of
from pooldaemon.workers.process.shapes import COUNT, PID, IfGiven, misfit

SHOWN = datetime.timedelta(minutes=10)
"""How long the page shows a process that does not publish any more."""

_POOL = {"name": str, "wait": {"counts": [COUNT]}}

PUBLISHED = {
    "pid": PID,
    "state": str,
    "workers": [{"name": str, "pools": IfGiven([_POOL]), "running": IfGiven([dict])}],
}
"""The shape of a status that the page can show: other programs may write to the table."""

COMMANDS_SHOWN = 3
"""Commands shown for each daemon, the latest."""

QUEUED = "queued for the daemon's next report"
STARTED = "started"
DONE = {"scale": "done"}
"""The results of commands. Whether the others, such as a reload, succeed is known only later."""


@dataclass
class Source:
    """A daemon or a web process.

    :ivar id: its host and pid.
    :ivar age: the age of *status*, in seconds.
    :ivar status: see :class:`~pooldaemon.dashboard.models.Snapshot`.
    :ivar daemon: its control socket; ``None`` if this process can't use it.
    :ivar row: the primary key of its snapshot; ``None`` if it has not published.
    :ivar commands: the last commands from the database, with their states.
    """

    id: str
    name: str
    host: str
    age: float
    status: dict[str, Any]
    daemon: Daemon | None = None
    row: int | None = None
    commands: list[dict[str, Any]] = field(default_factory=list)

    @property
    def can_be_operated(self) -> bool:
        return self.daemon is not None or bool(self.status.get("controlled"))

    def describe(self) -> dict[str, Any]:
        """As JSON for the page."""
        return {
            "id": self.id,
            "name": self.name,
            "host": self.host,
            "at": time.time() - self.age,
            "age": round(self.age, 1),
            "via": "control socket" if self.daemon else "database",
            "operable": self.can_be_operated,
            "commands": self.commands,
            "status": self.status,
        }


def all_sources() -> list[Source]:
    """All sources, by name and id. The status from a socket replaces the published one."""
    found = {source.id: source for source in _published()}
    for source in _local():
        if (published := found.get(source.id)) is not None:
            source.row, source.commands = published.row, published.commands
        found[source.id] = source
    return sorted(found.values(), key=lambda source: (source.name, source.id))


def _local() -> list[Source]:
    """The daemons whose control sockets this process can use."""
    try:
        daemons = find(configured_directory())
    except (CommandError, OSError):  # no daemons are configured, or not on this host
        return []
    sources = []
    for daemon in daemons:
        with suppress(OSError):  # it has just ended, or runs as another user
            if daemon.is_alive:
                status = daemon.ask("status")
                status.pop("options", None)
                name, host = status["command"], socket.gethostname()
                source = Source(source_of(status["pid"]), name, host, 0.0, status, daemon)
                sources.append(source)
    return sources


def _published() -> list[Source]:
    orders = Prefetch("orders", Order.objects.annotate(age=_age("created_at")).order_by("-pk"))
    snapshots = Snapshot.objects.filter(updated_at__gte=Now() - SHOWN)
    return [
        Source(
            snapshot.source,
            snapshot.name,
            snapshot.host,
            max(0.0, snapshot.age.total_seconds()),
            snapshot.data,
            row=snapshot.pk,
            commands=[
                {"command": order.command, "state": _state(order)}
                for order in [*snapshot.orders.all()][:COMMANDS_SHOWN]
            ],
        )
        for snapshot in snapshots.annotate(age=_age("updated_at")).prefetch_related(orders)
        if misfit(PUBLISHED, snapshot.data, "it") is None
    ]


def _age(column: str) -> Combinable:
    """The age of a row, by the database's clock, since the clocks of hosts differ."""
    return ExpressionWrapper(Now() - F(column), output_field=DurationField())


def _state(order: Any) -> str:
    if order.answer is not None:
        error = order.answer.get("error") if isinstance(order.answer, dict) else None
        return f"failed: {error}" if error else DONE.get(order.command, STARTED)
    if order.taken_at is not None:
        return "fetched, but not answered"
    return "expired" if order.age > COMMAND_LIFETIME else QUEUED
