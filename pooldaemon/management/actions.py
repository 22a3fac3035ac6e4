"""The actions of a daemon command, and how they are carried out on a running daemon."""

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
from pooldaemon.console.words import scaled
from pooldaemon.management.output import reader_may_be_gone
from pooldaemon.management.table import daemon_table
from pooldaemon.workers.ipc.control import ask
from pooldaemon.workers.process.pidfile import has_open, lock_holder

LAUNCHING = ("run", "start", "restart")
"""Actions that start a daemon."""

ASKING = ("stop", "reload", "status", "scale")
"""Actions on a running daemon."""

ACTIONS = (*LAUNCHING, *ASKING)

USAGE = 2
"""Exit status of a wrong command line, as of argparse."""

NOT_RUNNING = 7
"""Exit status of an action that needs a running daemon (Linux Standard Base)."""

STATUS_DEAD, STATUS_NOT_RUNNING, STATUS_UNKNOWN = 1, 3, 4
"""Exit statuses of ``status`` (Linux Standard Base): no daemon runs, but its pidfile is left; no
daemon runs; it runs, but does not answer."""

POLL = 0.05
"""Seconds between two checks while waiting for a daemon."""

MARGIN = 15.0
"""Seconds that ``stop`` waits in addition to the daemon's own timeouts before it gives up."""


@dataclass(frozen=True)
class Action:
    """An action with its arguments.

    :ivar name: one of :data:`ACTIONS`.
    :ivar processes: for ``scale``: the number of workers.
    :ivar update_env: for ``reload``: whether the daemon takes over the environment of this process.
    """

    name: str = "run"
    processes: int | None = None
    update_env: bool = False


def read_action(words: Sequence[str]) -> Action:
    """The action of a command line. Default: ``run``.

    :raises CommandError: there is no such action, or its arguments are wrong.
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
        raise CommandError(f"{name} takes no argument, but got {rest[0]!r}.", returncode=USAGE)
    return Action(name)


def asks_a_daemon(words: Sequence[str]) -> bool:
    """Whether the action is one on a running daemon."""
    return bool(words) and words[0] in ASKING


def _read_size(rest: Sequence[str]) -> int:
    rule = DAEMON_RULES["processes"]
    with suppress(ValueError):
        if len(rest) == 1 and rule.accepts(size := int(rest[0])):
            return size
    given = f"scale {' '.join(rest)}: " if rest else "scale: "
    raise CommandError(f"{given}the number of workers must be {rule}.", returncode=USAGE)


class Operator:
    """Carries out actions on the running daemon that has locked a pidfile.

    :param name: the command's name, for messages.
    :param grace: seconds that the daemon has to drain, if it does not report them itself.
    :param out: where results are written.
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
        """Carry out *action*; returns the exit status.

        :raises CommandError: it has failed.
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
        """Stop the daemon and wait for its end. It is no error if none is running (LSB).

        :param target: for ``rundaemon``: stop it only if this is its target. Default: any.
        :raises CommandError: it does not end in time, or has another target.
        """
        if (pid := self._holder()) is None:
            self._print("not running")
            return
        if target is not None and (other := others_target(self._pidfile, target)):
            raise CommandError(f"{self._name}: {other}; stop it first")
        try:
            seconds = ask(self._socket, "stop")["seconds"]
        except OSError:  # no socket, or no answer
            seconds = self._grace
            self._signal(pid)
        deadline = time.monotonic() + seconds + MARGIN
        while self._holder() == pid:
            if time.monotonic() >= deadline:
                raise CommandError(
                    f"{self._name} (pid {pid}) has not ended after {seconds + MARGIN:g} s"
                )
            time.sleep(POLL)
        self._print("stopped")

    def reload(self, environment_of: int | None = None) -> None:
        """Reload the daemon, and wait until all its workers have been replaced.

        :param environment_of: the pid of a process whose environment the daemon takes over.
            Default: it keeps its own.
        :raises CommandError: the reload has failed; the old workers are still running.
        """
        number = self._ask("reload", environment_of=environment_of)["number"]
        while True:
            with suppress(OSError):  # it does not answer while it executes the new code
                reload = ask(self._socket, "status")["reload"]
                if reload["number"] < number:
                    raise CommandError(f"{self._name} was restarted during the reload")
                # If another reload has begun since, this is the outcome of that one.
                if reload["state"] in ("done", "failed"):
                    break
            if self._holder() is None:
                raise CommandError(f"{self._name} ended during the reload")
            time.sleep(POLL)
        if reload["state"] == "failed":
            raise CommandError(
                f"{self._name}: the reload failed, the old workers keep running: {reload['reason']}"
            )
        self._print("reloaded")

    def scale(self, processes: int) -> None:
        answer = self._ask("scale", processes=processes)
        self._print(scaled(answer))

    def status(self, *, as_json: bool) -> int:
        """Print the daemon's status; returns the exit status."""
        pid = self._holder(STATUS_UNKNOWN)
        if pid is None:
            left = self._pidfile.exists()
            self._print_status(as_json, {"state": "not running"}, lambda _: "not running")
            return STATUS_DEAD if left else STATUS_NOT_RUNNING
        try:
            status = ask(self._socket, "status")
        except OSError as error:
            reason = error.strerror or str(error)
            status = {"state": "unknown", "pid": pid, "error": reason}
            self._print_status(
                as_json, status, lambda _: f"pid {pid} is running, but does not answer: {reason}"
            )
            return STATUS_UNKNOWN
        bars = self._out.isatty()
        self._print_status(as_json, status, lambda status: daemon_table(status, bars=bars))
        return 0

    def _holder(self, returncode: int = 1) -> int | None:
        """The result of :func:`lock_holder`.

        :param returncode: the exit status of an error.
        :raises CommandError: the pidfile can't be read.
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
            answer = ask(self._socket, command, **values)
        except OSError as error:
            reason = error.strerror or str(error)
            raise CommandError(f"{self._name}: no answer on {self._socket}: {reason}") from None
        if "error" in answer:
            raise CommandError(f"{self._name}: {answer['error']}")
        return answer

    def _signal(self, pid: int) -> None:
        if pid == 0:
            raise CommandError(f"{self._name} is just starting; try again")
        try:
            # The file is locked, but the pid in it may be an old one that another program has now.
            if not has_open(pid, self._pidfile):
                raise CommandError(
                    f"{self._name}: {self._pidfile} names pid {pid}, which is not the daemon that "
                    "has locked it; no signal was sent"
                )
            os.kill(pid, signal.SIGTERM)
        except (FileNotFoundError, ProcessLookupError):
            pass
        except PermissionError:
            raise CommandError(f"{self._name} (pid {pid}) belongs to another user") from None

    def _print_status(
        self, as_json: bool, status: dict[str, Any], table: Callable[[dict[str, Any]], str]
    ) -> None:
        if as_json:
            self._write(json.dumps({"command": self._name, **status}))
        else:
            self._print(table(status))

    def _print(self, text: str) -> None:
        self._write(f"{self._name}: {text}")

    def _write(self, text: str) -> None:
        with reader_may_be_gone():
            self._out.write(text)
            self._out.flush()


def others_target(pidfile: Path, target: str) -> str | None:
    """If a daemon with another target has locked *pidfile*: a text that says so, or ``None``."""
    try:
        running = ask(socket_of(pidfile), "status").get("target")
    except OSError:
        return None
    if running in (None, target):
        return None
    return f"{pidfile} belongs to the daemon that runs {running}"


def socket_of(pidfile: Path) -> Path:
    """The path of the control socket, beside the pidfile."""
    return pidfile.with_name(pidfile.name + ".sock")
