"""The subcommands of a daemon command: what may be asked, and how a running daemon is asked it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from pooldaemon.conf import DAEMON_RULES, nearest
from pooldaemon.management.output import reader_may_be_gone
from pooldaemon.management.table import daemon_table
from pooldaemon.workers.ipc.control import ask
from pooldaemon.workers.process.pidfile import has_open, lock_holder

LAUNCHING = ("run", "start", "restart")
"""After which there is a daemon."""

ASKING = ("stop", "reload", "status", "scale")
"""For a daemon that runs."""

ACTIONS = (*LAUNCHING, *ASKING)

USAGE = 2
"""Exit status of a command line that makes no sense, as argparse has it."""

NOT_RUNNING = 7
"""Exit status of an action that needs a running daemon (Linux Standard Base)."""

STATUS_DEAD, STATUS_NOT_RUNNING, STATUS_UNKNOWN = 1, 3, 4
"""Exit statuses of ``status`` (Linux Standard Base): a pidfile is left; nothing is there; the
daemon runs, but does not answer."""

POLL = 0.05
"""Seconds between looks at a daemon that is about to end."""

MARGIN = 15.0
"""Seconds beyond ``graceful_timeout`` that a daemon gets to end, before ``stop`` gives up."""


@dataclass(frozen=True)
class Action:
    """What the words after the command's name ask for.

    :ivar processes: how many, for ``scale``.
    :ivar update_env: whether ``reload`` brings the environment of this process.
    """

    name: str = "run"
    processes: int | None = None
    update_env: bool = False


def read_action(words: Sequence[str]) -> Action:
    """
    :raises CommandError: there is no such action, or it is not complete.
    """
    if not words:
        return Action()
    name, *rest = words
    if name not in ACTIONS:
        raise CommandError(
            f"{name!r} is not an action.{nearest(name, ACTIONS)} Valid: {', '.join(ACTIONS)}.",
            returncode=USAGE,
        )
    if name == "scale":
        return Action(name, _read_size(rest))
    if rest:
        raise CommandError(f"{name} takes nothing more, not {rest[0]!r}.", returncode=USAGE)
    return Action(name)


def asks_a_daemon(words: Sequence[str]) -> bool:
    """Whether a running daemon is to be asked, and none to be launched."""
    return bool(words) and words[0] in ASKING


def _read_size(rest: Sequence[str]) -> int:
    rule = DAEMON_RULES["processes"]
    with suppress(ValueError):
        if len(rest) == 1 and rule.accepts(size := int(rest[0])):
            return size
    given = " ".join(rest) or "nothing"
    raise CommandError(f"scale is given {given}; it must be {rule}.", returncode=USAGE)


class Operator:
    """Asks the daemon that holds a pidfile.

    :param name: the command's, for messages.
    :param grace: seconds it gets to drain, if it does not tell itself.
    :param out: where its answers go.
    """

    def __init__(self, name: str, pidfile: str, grace: float, out: OutputWrapper) -> None:
        self._name = name
        self._pidfile = Path(pidfile).absolute()
        self._grace = grace
        self._out = out

    @property
    def _socket(self) -> Path:
        return socket_of(self._pidfile)

    def ask(self, action: Action, *, as_json: bool) -> int:
        """Do what needs no launch; returns the exit status.

        :raises CommandError: it can't be done.
        """
        match action:
            case Action("status"):
                return self.status(as_json=as_json)
            case Action("scale", int(processes)):
                self.scale(processes)
            case Action("reload"):
                self.reload(os.getpid() if action.update_env else None)
            case Action("stop"):
                self.stop()
        return 0

    def stop(self, target: str | None = None) -> None:
        """Let it drain, and wait for its end. One that does not run is no error (LSB).

        :param target: of ``rundaemon``: only if it runs that.
        :raises CommandError: it does not end in time; or it runs another target.
        """
        if (pid := self._holder()) is None:
            self._tell("not running")
            return
        if target is not None and (other := others_target(self._pidfile, target)):
            raise CommandError(f"{self._name}: {other}; stop that first")
        try:
            seconds = ask(self._socket, "stop")["seconds"]
        except OSError:  # the socket is gone, or it does not answer
            seconds = self._grace
            self._signal(pid)
        deadline = time.monotonic() + seconds + MARGIN
        while self._holder() == pid:
            if time.monotonic() >= deadline:
                raise CommandError(f"{self._name} (pid {pid}) does not end")
            time.sleep(POLL)
        self._tell("stopped")

    def reload(self, environment_of: int | None = None) -> None:
        """Let it reload, and wait until all its workers are new.

        :param environment_of: the pid of a process whose environment it shall have.
        :raises CommandError: the new code can't run, and the old one stays.
        """
        number = self._ask("reload", environment_of=environment_of)["number"]
        while True:
            with suppress(OSError):  # it is being executed anew, and will answer
                told = ask(self._socket, "status")["reload"]
                if told["number"] < number:
                    raise CommandError(f"{self._name} was started anew during the reload")
                # If another reload has been begun since, it is that one's workers that come.
                if told["state"] in ("done", "failed"):
                    break
            if self._holder() is None:
                raise CommandError(f"{self._name} has ended during the reload")
            time.sleep(POLL)
        if told["state"] == "failed":
            why = told["reason"]
            raise CommandError(f"{self._name}: the reload failed, the old workers stay: {why}")
        self._tell("reloaded")

    def scale(self, processes: int) -> None:
        told = self._ask("scale", processes=processes)
        self._tell(f"workers: {told['processes']}, were {told['before']}")

    def status(self, *, as_json: bool) -> int:
        """Print it; returns the exit status."""
        pid = self._holder(STATUS_UNKNOWN)
        if pid is None:
            left = self._pidfile.exists()
            self._print(as_json, {"state": "not running"}, lambda _: "not running")
            return STATUS_DEAD if left else STATUS_NOT_RUNNING
        try:
            told = ask(self._socket, "status")
        except OSError as error:
            reason = error.strerror or str(error)
            told = {"state": "unknown", "pid": pid, "error": reason}
            self._print(as_json, told, lambda _: f"runs as pid {pid}, no answer: {reason}")
            return STATUS_UNKNOWN
        bars = self._out.isatty()
        self._print(as_json, told, lambda told: daemon_table(told, bars=bars))
        return 0

    def _holder(self, returncode: int = 1) -> int | None:
        """As of :func:`lock_holder`.

        :raises CommandError: with this status: the pidfile can't be read.
        """
        try:
            return lock_holder(self._pidfile)
        except OSError as error:
            reason = f"{self._name}: the pidfile {self._pidfile}: {error.strerror}"
            raise CommandError(reason, returncode=returncode) from None

    def _ask(self, command: str, **values: Any) -> dict[str, Any]:
        if self._holder() is None:
            raise CommandError(f"{self._name} is not running", returncode=NOT_RUNNING)
        try:
            told = ask(self._socket, command, **values)
        except OSError as error:
            reason = error.strerror or str(error)
            raise CommandError(f"{self._name}: no answer on {self._socket}: {reason}") from None
        if "error" in told:
            raise CommandError(f"{self._name}: {told['error']}")
        return told

    def _signal(self, pid: int) -> None:
        if pid == 0:
            raise CommandError(f"{self._name} is about to start; try again")
        try:
            # The file is locked, but its number may be an old one, and of another program by now.
            if not has_open(pid, self._pidfile):
                raise CommandError(
                    f"{self._name}: {self._pidfile} names pid {pid}, which is not the daemon that "
                    "has locked it; nothing was signalled"
                )
            os.kill(pid, signal.SIGTERM)
        except (FileNotFoundError, ProcessLookupError):
            pass
        except PermissionError:
            raise CommandError(f"{self._name} (pid {pid}) belongs to another user") from None

    def _print(
        self, as_json: bool, told: dict[str, Any], table: Callable[[dict[str, Any]], str]
    ) -> None:
        if as_json:
            self._write(json.dumps({"command": self._name, **told}))
        else:
            self._tell(table(told))

    def _tell(self, text: str) -> None:
        self._write(f"{self._name}: {text}")

    def _write(self, text: str) -> None:
        with reader_may_be_gone():
            self._out.write(text)
            self._out.flush()


def others_target(pidfile: Path, target: str) -> str | None:
    """A sentence about the target of the daemon that runs there, if it is not *target*."""
    try:
        running = ask(socket_of(pidfile), "status").get("target")
    except OSError:
        return None
    if running in (None, target):
        return None
    return f"{pidfile} is of the daemon that runs {running}, and another target needs another one"


def socket_of(pidfile: Path) -> Path:
    """The control socket is beside the pidfile."""
    return pidfile.with_name(pidfile.name + ".sock")
