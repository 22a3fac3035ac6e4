"""The actions of ``top`` on a daemon, by key."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.core.management.base import CommandError

from pooldaemon.console.daemons import Daemon
from pooldaemon.console.steering import ask
from pooldaemon.console.words import count


@dataclass(frozen=True)
class Action:
    """
    :ivar text: its line in the help.
    :ivar run: carries it out and returns the result, a line of text; raises ``CommandError``.
    :ivar question: asked first, for actions that interrupt work; empty: none.
    """

    text: str
    run: Callable[[Daemon], str]
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


def _command(daemon: Daemon, verb: str) -> str:
    told = ask(daemon, verb)
    sent = f"{verb}: sent to {count(len(told['workers']), 'worker')}"
    if names := ", ".join(told["unsupported"]):
        return f"{sent}; not to {names} (older version of pooldaemon)"
    return sent


ACTIONS = {
    "+": Action("one worker more", partial(_scale, by=1)),
    "-": Action("one worker less; it finishes its units", partial(_scale, by=-1)),
    "r": Action("reload code and settings", _reload, "Reload"),
    "s": Action("log the stack of every thread", _dump_stacks),
    "p": Action(
        "pause its pools: they lend nothing until resumed",
        partial(_command, verb="pause"),
        "Pause all pools of",
    ),
    "P": Action("resume its pools", partial(_command, verb="resume")),
}
"""By key."""
