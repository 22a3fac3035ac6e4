"""Shared by ``pause``, ``resume``, ``reconnect`` and ``resize``: send a command to the pools of a
daemon's workers, and print the result of each worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper

from pooldaemon.console import daemons
from pooldaemon.console.daemons import Daemon
from pooldaemon.pool_commands import LASTING_STATE

PATIENCE = 10.0
"""Seconds that workers get to answer. One that boots answers when it has."""

POLL = 0.1
"""Seconds between looks at what they have answered."""

DONE = {
    "pause": "paused",
    "resume": "resumed",
    "reconnect": "closes what is idle now, and the rest as it comes back:",
    "resize": "resized",
}

UNSUPPORTED = "runs an older version of pooldaemon, which has no such commands"

Status = Mapping[str, Any]


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "pool",
        nargs="?",
        metavar="POOL",
        help="a database's alias, or a pool's name as top shows it; default: all pools",
    )
    daemons.add_arguments(parser)


def send(
    verb: str, options: Mapping[str, Any], out: OutputWrapper, size: int | None = None
) -> Daemon:
    """Send the command to a daemon and print what each worker has done.

    :raises CommandError: it is refused, or not carried out by all.
    """
    daemon = daemons.choose(options["daemon"], options["directory"])
    told = ask(daemon, verb, pool=options["pool"], size=size)
    lacking = [
        f"{name} runs an older version of pooldaemon without these commands"
        for name in told["unsupported"]
    ]
    pids, number = dict(told["workers"]), told["number"]
    for status in _statuses(daemon, PATIENCE):
        living = {worker["name"]: worker for worker in status["workers"]}
        for name, pid in list(pids.items()):
            worker = living.get(name)
            if worker is None or worker["pid"] != pid:  # who comes after it is told at its start
                del pids[name]
            elif (command := worker["last_command"]) and command["number"] >= number:
                del pids[name]
                out.write(f"{name}: {_describe(verb, command)}")
                lacking += [f"{name}: {command['refused']}"] if command["refused"] else []
        if not pids:
            break
    lacking += [f"{name} has not answered; it will when it can" for name in pids]
    if lacking:
        raise CommandError(f"{daemon.name}: " + "\n".join(lacking))
    return daemon


def _describe(verb: str, command: Status) -> str:
    if command["done"]:
        return f"{DONE[verb]} {', '.join(command['done'])}"
    if command["refused"] or not LASTING_STATE[verb]:
        return "nothing done"
    return "no such pool is open; the command holds for it if it is"


def ask(daemon: Daemon, command: str, **values: Any) -> dict[str, Any]:
    """:raises CommandError: it does not answer, or refuses."""
    try:
        told = daemon.ask(command, **values)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandError(f"{daemon.name}: no answer on {daemon.socket}: {reason}") from None
    if "error" in told:
        raise CommandError(f"{daemon.name}: {told['error']}")
    return told


def _statuses(daemon: Daemon, seconds: float) -> Iterator[Status]:
    """What it tells, again and again, for so long."""
    deadline = time.monotonic() + seconds
    while True:
        yield ask(daemon, "status")
        if time.monotonic() >= deadline:
            return
        time.sleep(POLL)


def wait_for(daemon: Daemon, condition: Callable[[Status], bool], seconds: float) -> Status:
    """What it tells when the condition holds, or when the time is over."""
    for status in _statuses(daemon, seconds):
        if condition(status):
            break
    return status
