"""Receivers of the daemon's Django signals, for the hook ``setup`` to connect."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from django.db import connection

from pooldaemon import signals
from tests.lifecycle.project.journal import journal

NAMES = (
    *("daemon_ready", "daemon_reloading", "daemon_stopping"),
    *("worker_ready", "worker_exiting", "worker_died"),
)


def connect(*receivers: Callable[..., None]) -> None:
    for name in NAMES:
        for receiver in receivers:
            # Nobody else holds it. Without a name of its own: if it fails, Django fails to log it.
            getattr(signals, name).connect(functools.partial(receiver, name), weak=False)


def note(name: str, sender: type, **values: Any) -> None:
    connection.ensure_connection()
    about = values.get("worker") or values.get("death")
    journal().note(name, signal=True, sender=sender.__module__, worker=about and about.name)


def fail(name: str, **values: Any) -> None:
    raise LookupError("the receiver's own mistake")


def leave(name: str, **values: Any) -> None:
    sys.exit("the receiver leaves")
