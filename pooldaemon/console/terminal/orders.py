"""What a key tells a daemon to do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pooldaemon.console.daemons import Daemon


class RefusedError(Exception):
    """The daemon will not, and says why."""


@dataclass(frozen=True)
class Order:
    """
    :ivar text: for the help.
    :ivar give: gives it and returns what came of it; raises :class:`RefusedError`, or ``OSError``
        if the daemon does not answer.
    :ivar question: asked before, if it stops work.
    """

    text: str
    give: Callable[[Daemon], str]
    question: str = ""


def _ask(daemon: Daemon, command: str, **values: Any) -> dict[str, Any]:
    told = daemon.ask(command, **values)
    if "error" in told:
        raise RefusedError(told["error"])
    return told


def _scale(daemon: Daemon, by: int) -> str:
    # Asked anew: what is shown may be older than the last key.
    size = _ask(daemon, "status")["processes"] + by
    if size < 1:
        raise RefusedError("its last worker stays")
    told = _ask(daemon, "scale", processes=size)
    return f"workers: {told['processes']}, were {told['before']}"


def _reload(daemon: Daemon) -> str:
    _ask(daemon, "reload")
    return "reloads, if a trial shows that the new code works"


def _dump_stacks(daemon: Daemon) -> str:
    told = _ask(daemon, "status")
    os.kill(told["pid"], signal.SIGUSR2)
    logfile = told["options"]["logfile"]["value"]
    return f"the workers log their stacks, to {logfile or 'its standard error'}"


def _order(daemon: Daemon, verb: str) -> str:
    told = _ask(daemon, verb)
    deaf = f"; of an older version, and not told: {', '.join(told['deaf'])}" if told["deaf"] else ""
    return f"{verb}: told to {len(told['workers'])} workers{deaf}"


ORDERS = {
    "+": Order("one worker more", partial(_scale, by=1)),
    "-": Order("one worker less; it finishes its units", partial(_scale, by=-1)),
    "r": Order("reload code and settings", _reload, "Reload"),
    "s": Order("log the stack of every thread", _dump_stacks),
    "p": Order(
        "pause its pools: they lend nothing until resumed",
        partial(_order, verb="pause"),
        "Pause all pools of",
    ),
    "P": Order("resume its pools", partial(_order, verb="resume")),
}
"""By key."""
