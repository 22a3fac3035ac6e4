"""Runs in daemons and web processes: publishes their status, and fetches commands for daemons.

On a connection of its own that is not from a pool: when the pool is exhausted, its status must
still be published.
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
from pooldaemon.dashboard.models import COMMANDS, SOURCE_LENGTH, Order, Snapshot
from pooldaemon.tenants import use_database
from pooldaemon.workers.ipc.control import ask
from pooldaemon.workers.process.shapes import is_flat
from pooldaemon.workers.worker.reporter import describe

logger = logging.getLogger("pooldaemon.dashboard")

COMMAND_LIFETIME = datetime.timedelta(minutes=1)
"""A command that the daemon has not fetched within this time is not carried out: whoever sent it
may have left the page."""

MAX_COMMANDS = 20
"""That are carried out each time: the helper that does it has a few seconds."""

KEPT = datetime.timedelta(days=1)
"""How long rows are kept of processes that do not publish any more."""

CarryOut = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""Takes a command and its values, and returns the answer."""


def source_of(pid: int) -> str:
    """The name of a process of this host: unique among all hosts."""
    return f"{socket.gethostname()}:{pid}"[-SOURCE_LENGTH:]


def publish_daemon(control: Path | None, status: Mapping[str, Any]) -> None:
    """Publish a daemon's status, and pass on commands from the database. Runs in a helper process.

    :param control: the daemon's control socket; ``None``: it accepts no commands.
    :param status: the daemon's status; its options are not published.
    """

    def carry_out(command: str, values: Any) -> dict[str, Any]:
        # Whoever can write to the table can do no more than a user of the page.
        if control is None or command not in COMMANDS:
            return {"error": f"not allowed from the admin: {command}"}
        if not is_flat(values):
            return {"error": "the values of a command must be a JSON object of texts and numbers"}
        try:
            return ask(control, command, **values)
        except OSError as error:
            return {"error": error.strerror or str(error)}

    without_options = {name: value for name, value in status.items() if name != "options"}
    publish(status["command"], {**without_options, "controlled": control is not None}, carry_out)


def publish(name: str, status: Mapping[str, Any], carry_out: CarryOut | None = None) -> None:
    """Write the status of a process to the database. Database errors are logged, not raised.

    :param name: the command's name, or ``"web"``.
    :param status: ``pid``, ``workers``, and for daemons the rest of their status.
    :param carry_out: carries out commands from the database. Default: they are not fetched.
    """
    try:
        with _own_connection(router.db_for_write(Snapshot)):
            snapshot = _save(name, status)
            if carry_out is not None:
                _take_commands(snapshot, carry_out)
    except DatabaseError as error:
        logger.warning(
            "Can't publish the status (has pooldaemon_dashboard been migrated?): %s", error
        )


def this_process() -> dict[str, Any]:
    """The status of a web process: its pid and its pools."""
    pools = [describe(pool) for pool in pool_stats()]
    return {
        "pid": os.getpid(),
        "state": "serving",
        "workers": [{"name": "process", "pid": os.getpid(), "pools": pools}],
    }


def sweep() -> None:
    """Delete rows that are older than :data:`KEPT`."""
    Order.objects.filter(created_at__lt=Now() - KEPT).delete()
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
    """Pool settings for a connection that is closed after use, and logs in as the pool does."""
    pool = connections[alias].settings_dict["OPTIONS"].get("pool")
    if isinstance(pool, Mapping) and "password_provider" in pool:
        return {"poolclass": "NullPool", "password_provider": pool["password_provider"]}
    return False


def _save(name: str, status: Mapping[str, Any]) -> Snapshot:
    source = source_of(status["pid"])
    values = {"name": name, "host": socket.gethostname(), "data": status, "updated_at": Now()}
    if not Snapshot.objects.filter(source=source).update(**values):
        Snapshot.objects.create(source=source, **values)
        sweep()
    return Snapshot.objects.only("pk").get(source=source)


def _take_commands(snapshot: Snapshot, carry_out: CarryOut) -> None:
    waiting = snapshot.orders.filter(taken_at=None, created_at__gte=Now() - COMMAND_LIFETIME)
    for order in waiting.order_by("pk")[:MAX_COMMANDS]:
        # Another helper process of the same daemon may be fetching it, too.
        if Order.objects.filter(pk=order.pk, taken_at=None).update(taken_at=Now()):
            Order.objects.filter(pk=order.pk).update(answer=carry_out(order.command, order.values))
