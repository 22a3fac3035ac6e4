"""What a key tells a daemon to do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.core.management.base import CommandError

from pooldaemon.console.daemons import Daemon
from pooldaemon.console.steering import ask


@dataclass(frozen=True)
class Order:
    """
    :ivar text: for the help.
    :ivar give: gives it and returns what came of it; raises ``CommandError``.
    :ivar question: asked before, if it stops work.
    """

    text: str
    give: Callable[[Daemon], str]
    question: str = ""


def _scale(daemon: Daemon, by: int) -> str:
    # Asked anew: what is shown may be older than the last key.
    size = ask(daemon, "status")["processes"] + by
    if size < 1:
        raise CommandError(f"{daemon.name}: its last worker stays")
    told = ask(daemon, "scale", processes=size)
    return f"workers: {told['processes']}, were {told['before']}"


def _reload(daemon: Daemon) -> str:
    ask(daemon, "reload")
    return "reloads, if a preflight shows that the new code works"


def _dump_stacks(daemon: Daemon) -> str:
    told = ask(daemon, "status")
    try:
        os.kill(told["pid"], signal.SIGUSR2)
    except OSError as error:
        raise CommandError(f"{daemon.name}: {error.strerror}") from None
    logfile = told["options"]["logfile"]["value"]
    return f"the workers log their stacks, to {logfile or 'its standard error'}"


def _order(daemon: Daemon, verb: str) -> str:
    told = ask(daemon, verb)
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
