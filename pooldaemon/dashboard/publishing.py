"""Runs in daemons and web processes: tells the database how they are, and takes commands from it.

On a connection of its own, from no pool: who wants to know of a pool that is exhausted must not
wait for one of its connections.
"""

from __future__ import annotations

import datetime
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import DatabaseError, connections, router
from django.db.models.functions import Now

from pooldaemon.connections import pool_stats, unpooled_aliases
from pooldaemon.dashboard.models import COMMANDS, SOURCE_LENGTH, DaemonCommand, Snapshot
from pooldaemon.tenants import use_database
from pooldaemon.workers.ipc.control import ask
from pooldaemon.workers.worker.reporter import describe

logger = logging.getLogger("pooldaemon.dashboard")

COMMAND_LIFETIME = datetime.timedelta(minutes=1)
"""A command that the daemon has not fetched within this time is not carried out: whoever sent it
may have left the page."""

KEPT = datetime.timedelta(days=1)
"""How long the database remembers what ended without a word."""

CarryOut = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""Takes a command and its values, and returns the answer."""


def source_of(pid: int) -> str:
    """The name of a process of this host among those of all hosts."""
    return f"{socket.gethostname()}:{pid}"[-SOURCE_LENGTH:]


def publish_daemon(control: Path | None, told: Mapping[str, Any]) -> None:
    """In a helper of a daemon: publish what its supervisor has *told*, and pass commands on to it.

    :param control: its socket; without one it takes no commands.
    """

    def carry_out(command: str, values: Any) -> dict[str, Any]:
        # Whoever can write to the table is told no more than the page is.
        if control is None or command not in COMMANDS:
            return {"error": f"not for the page: {command}"}
        if not isinstance(values, dict):
            return {"error": "the values of a command are a JSON object"}
        try:
            return ask(control, command, **values)
        except OSError as error:
            return {"error": error.strerror or str(error)}

    without_options = {name: value for name, value in told.items() if name != "options"}
    publish(told["command"], {**without_options, "controlled": control is not None}, carry_out)


def publish(name: str, told: Mapping[str, Any], carry_out: CarryOut | None = None) -> None:
    """Write down how a process is. A database that does not answer is logged.

    :param told: ``pid``, ``workers`` and what else ``status`` tells of a daemon.
    :param carry_out: carries out the commands that have come.
    """
    try:
        with _own_connection(router.db_for_write(Snapshot)):
            snapshot = _save(name, told)
            if carry_out is not None:
                _take_commands(snapshot, carry_out)
    except DatabaseError as error:
        logger.warning("Not published (has pooldaemon_dashboard been migrated?): %s", error)


def this_process() -> dict[str, Any]:
    """What a web process tells: that it lives, and its pools."""
    pools = [describe(pool) for pool in pool_stats()]
    return {
        "pid": os.getpid(),
        "state": "serving",
        "workers": [{"name": "process", "pid": os.getpid(), "pools": pools}],
    }


def sweep() -> None:
    """Forget what is of no interest any more."""
    DaemonCommand.objects.filter(created_at__lt=Now() - KEPT).delete()
    Snapshot.objects.filter(updated_at__lt=Now() - KEPT).delete()


@contextmanager
def _own_connection(alias: str) -> Iterator[None]:
    if alias in unpooled_aliases():
        try:
            yield
        finally:
            connections[alias].close()
        return
    with use_database(alias, OPTIONS={"pool": _only_login(alias)}):
        yield


def _only_login(alias: str) -> Any:
    """The pool's settings for a connection that is not kept: it logs in as the pool's do."""
    pool = connections[alias].settings_dict["OPTIONS"].get("pool")
    if isinstance(pool, Mapping) and "password_provider" in pool:
        return {"poolclass": "NullPool", "password_provider": pool["password_provider"]}
    return False


def _save(name: str, told: Mapping[str, Any]) -> Snapshot:
    source = source_of(told["pid"])
    values = {"name": name, "host": socket.gethostname(), "data": told, "updated_at": Now()}
    if not Snapshot.objects.filter(source=source).update(**values):
        Snapshot.objects.create(source=source, **values)
        sweep()
    return Snapshot.objects.only("pk").get(source=source)


def _take_commands(snapshot: Snapshot, carry_out: CarryOut) -> None:
    waiting = snapshot.commands.filter(taken_at=None, created_at__gte=Now() - COMMAND_LIFETIME)
    for command in waiting.order_by("pk"):
        # Another helper of the same daemon may be about to take it.
        if DaemonCommand.objects.filter(pk=command.pk, taken_at=None).update(taken_at=Now()):
            DaemonCommand.objects.filter(pk=command.pk).update(
                answer=carry_out(command.verb, command.values)
            )
