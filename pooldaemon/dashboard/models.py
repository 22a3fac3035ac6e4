"""The published status of processes, and commands for daemons."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now

SOURCE_LENGTH = 191
"""Characters. At four bytes each, more do not fit into an index of older servers."""

COMMANDS = ("reload", "scale", "pause", "resume", "reconnect")
"""The commands of the page. ``stop`` is not one: the page could not start the daemon again."""


class ForeignJSON(models.JSONField):
    """JSON that other programs may have written: ``None`` if Python can't read it.

    An example is a number of thousands of digits, which SQLite and MariaDB store unchanged.
    """

    def from_db_value(self, *args: Any) -> Any:
        try:
            return super().from_db_value(*args)
        except (ValueError, RecursionError):
            return None

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs  # the same for migrations


class Snapshot(models.Model):
    """The last published status of a daemon or a web process.

    :ivar source: its host and pid: ``"web-1:4711"``.
    :ivar name: the name of the daemon's command; ``"web"`` for a web process.
    :ivar host: its host.
    :ivar data: its status, as of ``status --json``.
    :ivar updated_at: when it was published, by the database's clock.
    """

    source = models.CharField(max_length=SOURCE_LENGTH, unique=True)
    name = models.CharField(max_length=100)
    host = models.CharField(max_length=255)
    data = ForeignJSON()
    updated_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        verbose_name = "pools and daemons"
        verbose_name_plural = "pools and daemons"
        default_permissions = ("view",)
        permissions = (("operate_snapshot", "Can operate daemons"),)

    def __str__(self) -> str:
        return f"{self.name} on {self.source}"


class Order(models.Model):
    """A command for a daemon that the page can't reach directly. Carried out once or not at all.

    :ivar command: one of :data:`COMMANDS`.
    :ivar values: the command's arguments.
    :ivar taken_at: when the daemon fetched it; ``None``: not yet.
    :ivar answer: the answer of the daemon's control socket.
    """

    snapshot = models.ForeignKey(Snapshot, models.CASCADE, related_name="orders")
    command = models.CharField(max_length=20)
    values = ForeignJSON()
    created_at = models.DateTimeField(db_default=Now())
    taken_at = models.DateTimeField(null=True)
    answer = ForeignJSON(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.command} for {self.snapshot_id}"
