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
"""Seconds to wait for the results of all workers. A worker that is booting reports when it is
done."""

POLL = 0.1
"""Seconds between two checks of the status."""

DONE = {
    "pause": "paused {}",
    "resume": "resumed {}",
    "reconnect": "closed the idle connections of {}; those in use follow when they are returned",
    "resize": "resized {}",
}
"""What a worker has done, by verb; takes the names of the pools."""

UNSUPPORTED = "runs an older version of pooldaemon, which has no such commands"

Status = Mapping[str, Any]


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "pool",
        nargs="?",
        metavar="POOL",
        help="a database's alias, or a pool's name as in top; default: all pools",
    )
    daemons.add_arguments(parser)


def send(
    verb: str, options: Mapping[str, Any], out: OutputWrapper, size: int | None = None
) -> Daemon:
    """Send a command to a daemon, and print the result of each worker.

    :param size: for ``resize``: the cap, in connections.
    :raises CommandError: the daemon or a worker refuses it, or a worker does not report in time.
    """
    daemon = daemons.choose(options["daemon"], options["directory"])
    answer = ask(daemon, verb, pool=options["pool"], size=size)
    lacking = [
        f"{name} runs an older version of pooldaemon without these commands"
        for name in answer["unsupported"]
    ]
    pids, number = dict(answer["workers"]), answer["number"]
    for status in _statuses(daemon, PATIENCE):
        living = {worker["name"]: worker for worker in status["workers"]}
        for name, pid in list(pids.items()):
            worker = living.get(name)
            if worker is None or worker["pid"] != pid:  # who comes after it is answer at its start
                del pids[name]
            elif (command := worker["last_command"]) and command["number"] >= number:
                del pids[name]
                out.write(f"{name}: {_describe(verb, command)}")
                lacking += [f"{name}: {command['refused']}"] if command["refused"] else []
        if not pids:
            break
    lacking += [f"{name} has not reported a result within {PATIENCE:g} s" for name in pids]
    if lacking:
        raise CommandError(f"{daemon.name}: " + "\n".join(lacking))
    return daemon


def _describe(verb: str, command: Status) -> str:
    if command["done"]:
        return DONE[verb].format(", ".join(command["done"]))
    if command["refused"] or not LASTING_STATE[verb]:
        return "nothing to do"
    return "no such pool is open; the command will apply when it is opened"


def ask(daemon: Daemon, command: str, **values: Any) -> dict[str, Any]:
    """Send a request to a daemon and return the answer.

    :raises CommandError: the daemon does not answer, or its answer is an error.
    """
    try:
        answer = daemon.ask(command, **values)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandError(f"{daemon.name}: no answer on {daemon.socket}: {reason}") from None
    if "error" in answer:
        raise CommandError(f"{daemon.name}: {answer['error']}")
    return answer


def _statuses(daemon: Daemon, seconds: float) -> Iterator[Status]:
    """The daemon's status, again and again for *seconds*; at least once."""
    deadline = time.monotonic() + seconds
    while True:
        yield ask(daemon, "status")
        if time.monotonic() >= deadline:
            return
        time.sleep(POLL)


def wait_for(daemon: Daemon, condition: Callable[[Status], bool], seconds: float) -> Status:
    """The first status that fulfils *condition*, or the last one after *seconds*."""
    for status in _statuses(daemon, seconds):
        if condition(status):
            break
    return status
