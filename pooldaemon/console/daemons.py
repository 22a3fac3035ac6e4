"""The daemons of a directory, found by their control sockets.

A daemon's socket is beside its pidfile. Whether it runs is known from the lock on the pidfile: a
daemon that was killed leaves its socket.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from pooldaemon.conf import nearest, pooldaemon_settings
from pooldaemon.workers.ipc.control import ask
from pooldaemon.workers.process.pidfile import lock_holder

PIDFILE_VARIABLE = "POOLDAEMON_PIDFILE"


@dataclass(frozen=True)
class Daemon:
    """A daemon that runs, or has been killed.

    :ivar name: its pidfile's name without ``.pid``.
    :ivar socket: its control socket.
    :ivar pid: its supervisor's; 0 if it is just starting; ``None`` if it is not running.
    """

    name: str
    socket: Path
    pid: int | None

    @property
    def is_alive(self) -> bool:
        return self.pid is not None

    def ask(self, command: str, **values: Any) -> dict[str, Any]:
        """Send a request and return the answer. Blocks for up to 5 seconds per step.

        :raises OSError: it is not running, or does not answer.
        """
        return ask(self.socket, command, **values)


def find(directory: Path) -> list[Daemon]:
    """The daemons whose pidfiles are in *directory*, by name; also those that were killed.

    :raises OSError: the directory can't be read.
    """
    found = []
    for socket in sorted(directory.iterdir()):
        pidfile = socket.with_suffix("")
        if socket.suffix == ".sock" and socket.is_socket() and pidfile.is_file():
            found.append(Daemon(pidfile.name.removesuffix(".pid"), socket, lock_holder(pidfile)))
    return found


def configured_directory() -> Path:
    """The directory of the pidfiles of the project's daemons.

    :raises CommandError: it is not configured, or each daemon has a directory of its own.
    """
    pidfile = os.environ.get(PIDFILE_VARIABLE) or pooldaemon_settings().get("PIDFILE")
    if not pidfile:
        raise CommandError(
            f"Neither settings.POOLDAEMON['PIDFILE'] nor {PIDFILE_VARIABLE} is set: give "
            "--directory DIR, the directory of the daemons' pidfiles."
        )
    directory = Path(pidfile).absolute().parent
    if "{command}" in str(directory):
        raise CommandError(
            f"Each daemon's pidfile has a directory of its own, {directory}: give --directory DIR."
        )
    return directory


def add_arguments(parser: CommandParser) -> None:
    """Add the options that name one daemon."""
    parser.add_argument(
        "--daemon", metavar="NAME", help="the daemon's name; needed if several are running"
    )
    add_directory(parser)


def add_directory(parser: CommandParser) -> None:
    """Add the option that names a directory of daemons."""
    parser.add_argument(
        "--directory",
        metavar="DIR",
        help="the daemons' pidfiles are there; default: that of settings.POOLDAEMON['PIDFILE']",
    )


def search(directory: str | None) -> list[Daemon]:
    """The daemons of *directory*. Default: the configured one.

    :raises CommandError: the directory can't be read, or is not configured.
    """
    where = Path(directory) if directory else configured_directory()
    try:
        return find(where)
    except OSError as error:
        raise CommandError(f"the directory {where}: {error.strerror}") from None


def choose(name: str | None, directory: str | None) -> Daemon:
    """The running daemon *name*. Default: the only one that is running.

    :raises CommandError: it is not running, or several are running and *name* is ``None``.
    """
    daemons = search(directory)
    living = {daemon.name: daemon for daemon in daemons if daemon.is_alive}
    if name in living:
        return living[name]
    where = directory or str(configured_directory())
    if not living:
        raise CommandError(f"No daemon is running in {where}.")
    names = ", ".join(living)
    if name is not None:
        dead = any(daemon.name == name for daemon in daemons)
        why = "not running." if dead else f"no such daemon.{nearest(name, living)}"
        raise CommandError(f"--daemon {name}: {why} Running in {where}: {names}.")
    if len(living) > 1:
        raise CommandError(f"Several daemons are running in {where}: {names}. Give --daemon NAME.")
    return next(iter(living.values()))
