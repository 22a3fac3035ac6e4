"""What the page shows: what was published, and what control sockets tell."""

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
from pooldaemon.dashboard.models import DaemonCommand, Snapshot
from pooldaemon.dashboard.publishing import COMMAND_LIFETIME, source_of

SHOWN = datetime.timedelta(minutes=10)
"""How long the page shows a process that tells nothing any more."""

COMMANDS_SHOWN = 3
"""Of each daemon, those that were given last."""


@dataclass
class Source:
    """A daemon or a web process.

    :ivar id: host and process.
    :ivar age: seconds since it told.
    :ivar told: what it told; see :class:`~pooldaemon.dashboard.models.Snapshot`.
    :ivar daemon: where it can be asked.
    :ivar row: the key of its snapshot, where commands for it are left.
    """

    id: str
    name: str
    host: str
    age: float
    told: dict[str, Any]
    daemon: Daemon | None = None
    row: int | None = None
    commands: list[dict[str, Any]] = field(default_factory=list)

    @property
    def can_be_operated(self) -> bool:
        return self.daemon is not None or bool(self.told.get("controlled"))

    def describe(self) -> dict[str, Any]:
        """For the page."""
        return {
            "id": self.id,
            "name": self.name,
            "host": self.host,
            "at": time.time() - self.age,
            "age": round(self.age, 1),
            "via": "control socket" if self.daemon else "database",
            "operable": self.can_be_operated,
            "commands": self.commands,
            "told": self.told,
        }


def all_sources() -> list[Source]:
    """By name and process. What a socket tells is newer than what was published."""
    found = {source.id: source for source in _published()}
    for source in _local():
        if (published := found.get(source.id)) is not None:
            source.row, source.commands = published.row, published.commands
        found[source.id] = source
    return sorted(found.values(), key=lambda source: (source.name, source.id))


def _local() -> list[Source]:
    """The daemons whose control sockets this process may use."""
    try:
        daemons = find(configured_directory())
    except (CommandError, OSError):  # the project has none, or not here
        return []
    sources = []
    for daemon in daemons:
        with suppress(OSError):  # it has just ended, or belongs to another user
            if daemon.is_alive:
                told = daemon.ask("status")
                told.pop("options", None)
                name, host = told["command"], socket.gethostname()
                source = Source(source_of(told["pid"]), name, host, 0.0, told, daemon)
                sources.append(source)
    return sources


def _published() -> list[Source]:
    commands = Prefetch(
        "commands", DaemonCommand.objects.annotate(age=_age("created_at")).order_by("-pk")
    )
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
                {"command": command.verb, "state": _state(command)}
                for command in [*snapshot.commands.all()][:COMMANDS_SHOWN]
            ],
        )
        for snapshot in snapshots.annotate(age=_age("updated_at")).prefetch_related(commands)
    ]


def _age(column: str) -> Combinable:
    """By the database's clock: hosts' clocks differ."""
    return ExpressionWrapper(Now() - F(column), output_field=DurationField())


def _state(command: Any) -> str:
    if command.answer is not None:
        error = command.answer.get("error")
        # What becomes of the others, of a reload for instance, is told by the daemon later.
        done = "done" if command.verb == "scale" else "begun"
        return f"failed: {error}" if error else done
    if command.taken_at is not None:
        return "taken, without an answer"
    return "expired" if command.age > COMMAND_LIFETIME else "waiting for the daemon's next report"
