"""The daemons of a directory, found by their control sockets.

A daemon's socket lies beside its pidfile. Which daemon lives is told by the pidfile's lock: a
socket may have been left behind.
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
    """One daemon, alive or dead.

    :ivar name: its pidfile's name, without ``.pid``.
    :ivar socket: where it listens.
    :ivar pid: of its supervisor; 0 if it is about to start; ``None`` if it is dead.
    """

    name: str
    socket: Path
    pid: int | None

    @property
    def is_alive(self) -> bool:
        return self.pid is not None

    def ask(self, command: str, **values: Any) -> dict[str, Any]:
        """Its answer to one request; up to 5 s.

        :raises OSError: it is gone, or does not answer.
        """
        return ask(self.socket, command, **values)


def find(directory: Path) -> list[Daemon]:
    """The daemons whose pidfiles lie in *directory*, by name; also those that died there.

    :raises OSError: it can't be read.
    """
    found = []
    for socket in sorted(directory.iterdir()):
        pidfile = socket.with_suffix("")
        if socket.suffix == ".sock" and socket.is_socket() and pidfile.is_file():
            found.append(Daemon(pidfile.name.removesuffix(".pid"), socket, lock_holder(pidfile)))
    return found


def configured_directory() -> Path:
    """Where the project's daemons have their pidfiles.

    :raises CommandError: that is not configured, or a directory for each.
    """
    pidfile = os.environ.get(PIDFILE_VARIABLE) or pooldaemon_settings().get("PIDFILE")
    if not pidfile:
        raise CommandError(
            f"Where are the daemons? Neither settings.POOLDAEMON['PIDFILE'] nor {PIDFILE_VARIABLE} "
            "is set; give --directory DIR, that of their pidfiles."
        )
    directory = Path(pidfile).absolute().parent
    if "{command}" in str(directory):
        raise CommandError(
            f"Where are the daemons? Each has a directory of its own, {directory}; "
            "give --directory DIR."
        )
    return directory


def add_arguments(parser: CommandParser) -> None:
    """The options by which a verb knows its daemon."""
    parser.add_argument("--daemon", metavar="NAME", help="which one, if there are several")
    add_directory(parser)


def add_directory(parser: CommandParser) -> None:
    """The option by which a verb knows its daemons."""
    parser.add_argument(
        "--directory",
        metavar="DIR",
        help="that of the daemons' pidfiles; default: as settings.POOLDAEMON['PIDFILE'] says",
    )


def search(directory: str | None) -> list[Daemon]:
    """:func:`find` for a command line; without *directory* in the configured one.

    :raises CommandError: it can't be read.
    """
    where = Path(directory) if directory else configured_directory()
    try:
        return find(where)
    except OSError as error:
        raise CommandError(f"The daemons' directory {where}: {error.strerror}") from None


def choose(name: str | None, directory: str | None) -> Daemon:
    """The living daemon of that name; the only one, if no name is given.

    :raises CommandError: there is none such, or there are several.
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
        why = "is dead." if dead else f"is not there.{nearest(name, living)}"
        raise CommandError(f"--daemon {name}: it {why} Running in {where}: {names}.")
    if len(living) > 1:
        raise CommandError(f"Which one? Give --daemon NAME. Running in {where}: {names}.")
    return next(iter(living.values()))
