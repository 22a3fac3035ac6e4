"""The actions of ``top`` on a daemon, by key."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.core.management.base import CommandError

from pooldaemon.conf import count
from pooldaemon.console.daemons import Daemon
from pooldaemon.console.steering import ask
from pooldaemon.console.words import scaled


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
    # Asked again, since the screen may not show the effect of the last key yet.
    size = ask(daemon, "status")["processes"] + by
    if size < 1:
        raise CommandError(f"{daemon.name}: a daemon needs at least 1 worker")
    answer = ask(daemon, "scale", processes=size)
    return scaled(answer)


def _reload(daemon: Daemon) -> str:
    ask(daemon, "reload")
    return "reload started: the new code is checked first"


def _dump_stacks(daemon: Daemon) -> str:
    status = ask(daemon, "status")
    try:
        os.kill(status["pid"], signal.SIGUSR2)
    except OSError as error:
        raise CommandError(f"{daemon.name}: {error.strerror}") from None
    logfile = status["options"]["logfile"]["value"]
    return f"the workers log their stacks to {logfile or 'standard error'}"


def _command(daemon: Daemon, verb: str) -> str:
    answer = ask(daemon, verb)
    sent = f"{verb}: sent to {count(len(answer['workers']), 'worker')}"
    if names := ", ".join(answer["unsupported"]):
        return f"{sent}; not to {names} (older version of pooldaemon)"
    return sent


ACTIONS = {
    "+": Action("add a worker", partial(_scale, by=1)),
    "-": Action("remove a worker when its running units have ended", partial(_scale, by=-1)),
    "r": Action("reload code and settings", _reload, "Reload"),
    "s": Action("log the stack of every thread", _dump_stacks),
    "p": Action(
        "pause its pools: they lend no connections until they are resumed",
        partial(_command, verb="pause"),
        "Pause all pools of",
    ),
    "P": Action("resume its pools", partial(_command, verb="resume")),
}
"""By key."""
