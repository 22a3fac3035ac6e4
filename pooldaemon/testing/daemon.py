"""A daemon under test, as a real process, with checks that it leaves nothing behind."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from pooldaemon import faults
from pooldaemon.conf import nearest
from pooldaemon.testing import processes
from pooldaemon.testing.bootstrap import DATABASES
from pooldaemon.testing.poll import wait_until
from pooldaemon.workers.ipc.control import ask
from pooldaemon.workers.process.pidfile import lock_holder

T = TypeVar("T")

TIMEOUT = 60.0
"""Seconds. What is waited for takes about one on an idle machine."""

GONE = 10.0
"""Seconds after the supervisor's end in which all its other processes have to end. If it is killed,
workers take up to two; then they are orphans, which some init processes reap only seconds later."""


class DaemonProcess:
    """Runs a daemon command from the beginning of a ``with`` block to its end.

    Processes that are left at the end of the block are killed, and an ``AssertionError`` is raised.
    Linux only: ``/proc`` shows which processes belong to it, even if their parents have ended. Main
    thread only.

    :param directory: a directory of its own, which is created here. Its processes are known by it.
    :param arguments: the command line after ``manage.py``. Most methods need ``--pidfile`` in it.
    :param databases: names of databases by alias, instead of those in the settings. Default: none.
    :param environment: variables in addition to this process's own.
    :param cwd: the working directory. Default: this process's.
    """

    prefix: tuple[str, ...] = ()
    """A command that runs the daemon, such as ``("nohup",)``."""
    stdin: int = subprocess.DEVNULL
    """The daemon's standard input, as of :class:`subprocess.Popen`."""

    def __init__(
        self,
        directory: Path,
        arguments: Sequence[str],
        *,
        databases: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.directory = directory
        self._arguments = [*arguments]
        self._cwd = cwd or Path.cwd()
        self._faults = directory / "faults"
        self._databases = {**(databases or {})}
        self._variables = {**(environment or {})}
        self._sessions: set[int] = set()
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        self.prepare()
        directory = self.directory
        with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
            self.process = subprocess.Popen(  # noqa: S603 - the test's own command line
                [*self.prefix, *self._program(), *self._arguments],
                env=self._environment(),
                cwd=self._cwd,
                stdin=self.stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._sessions.add(self.process.pid)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is not None:  # its other processes may be about to end
            with suppress(AssertionError):
                wait_until(lambda: not self.members(), GONE, "")
        left = self.members()
        pids = {process.pid for process in left}
        # Parents first: a supervisor would replace workers that are killed.
        for process in sorted(left, key=lambda process: process.parent in pids):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not self._living(), TIMEOUT, "processes have survived SIGKILL")
        os.close(self._owner)
        if left and exc_info[0] is None:
            with self._explained():
                raise AssertionError("processes were left running")

    def __str__(self) -> str:
        return f"the daemon {' '.join(self._arguments)}"

    # -- looking ----------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The supervisor's pid, if it runs in the foreground."""
        return self.process.pid

    @property
    def out(self) -> str:
        """What it has written to standard output."""
        return _read(self.directory / "out")

    @property
    def err(self) -> str:
        """What it has written to standard error."""
        return _read(self.directory / "err")

    @property
    def log(self) -> str:
        """Its standard output, standard error and logfile."""
        logfile = self._path("--logfile")
        # A device is no file: /dev/full has no end.
        return self.out + self.err + (_read(logfile) if logfile and logfile.is_file() else "")

    @property
    def workers(self) -> set[int]:
        """The pids of the supervisor's living children."""
        return {child.pid for child in processes.children(self.pid) if child.state != "Z"}

    def members(self) -> list[processes.Process]:
        """Its processes, including orphans and zombies."""
        # By session and by environment: a zombie has no environment, a detached daemon has left the
        # session.
        marked = processes.with_variable(faults.VARIABLE, str(self._faults))
        return [p for p in processes.every() if p.session in self._sessions or p.pid in marked]

    @property
    def pidfile(self) -> Path | None:
        """The path given with ``--pidfile``; ``None`` if there is none."""
        return self._path("--pidfile")

    def status(self) -> dict[str, Any]:
        """The daemon's status, as of ``status --json``. Needs ``--pidfile``.

        :raises OSError: the daemon does not answer.
        :raises ValueError: there is no ``--pidfile``.
        """
        if self.pidfile is None:
            raise ValueError(f"{self} has no --pidfile")
        return ask(self.pidfile.with_name(self.pidfile.name + ".sock"), "status")

    def wait_until_ready(self, timeout: float = TIMEOUT) -> None:
        """Wait until all workers are ready. Needs ``--pidfile``.

        :param timeout: seconds. Default: 60.
        :raises AssertionError: they are not ready in time, or the daemon has ended. Contains its
            log.
        """
        self._wait(self._is_ready, timeout, "not all workers are ready")

    def wait_for_log(self, text: str, timeout: float = TIMEOUT) -> None:
        """Wait until the log contains *text*.

        :param timeout: seconds. Default: 60.
        :raises AssertionError: it does not in time, or the daemon has ended. Contains its log.
        """
        self._wait(lambda: text in self.log, timeout, f"no {text!r} in the log")

    def log_lines(self, *texts: str) -> list[str]:
        """The lines of the log that contain all of *texts*."""
        return [line for line in self.log.splitlines() if all(text in line for text in texts)]

    # -- acting -----------------------------------------------------------------------

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(number)

    def stop(self) -> None:
        """Send SIGTERM, and :meth:`assert_clean_end`."""
        self.signal(signal.SIGTERM)
        self.assert_clean_end()

    def assert_clean_end(self, status: int = 0, timeout: float = TIMEOUT) -> None:
        """Wait for the daemon's end, which must have this exit status and leave nothing behind.

        :param timeout: seconds. Default: 60.
        :raises AssertionError: it does not end in time, has another status, or leaves a process
            (including zombies), the pidfile or one of the files beside it. Contains its log.
        """
        with self._explained():
            try:
                found = self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"it is still running after {timeout:g} s") from None
            if found != status:
                raise AssertionError(f"it has ended with status {found}, not {status}")
            if left := self._files():
                raise AssertionError(f"files are left: {', '.join(map(str, left))}")
        self.assert_nothing_left()

    def assert_nothing_left(self, timeout: float = GONE) -> None:
        """Wait until all its processes have ended, including zombies.

        :param timeout: seconds. Default: 10.
        :raises AssertionError: processes are left. Contains the log.
        """
        with self._explained():
            wait_until(lambda: not self.members(), timeout, "processes are left")

    # -- failing ----------------------------------------------------------------------

    def prepare(self) -> None:
        """Create the directory, so that faults can be armed before the daemon starts."""
        if self._faults.exists():
            return
        self.directory.mkdir()
        self._faults.mkdir(mode=0o700)
        (self._faults / "armed").mkdir()
        (self._faults / "reached").mkdir()
        # Locked until the end, however the test ends: the daemon checks whether the test still
        # runs.
        self._owner = os.open(self._faults / faults.OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._owner, fcntl.LOCK_EX)

    def arm(self, point: str, action: str, times: int = 1) -> None:
        """Make the next process that reaches a fault point fail there.

        :param point: one of ``pooldaemon.faults.POINTS``, or one of your own, with a dot.
        :param action: ``"crash"``; ``"hang"``, until :meth:`release`; or ``"raise"``.
        :param times: for how many times. Default: 1.
        :raises ValueError: there is no such fault point or action.
        """
        own = re.fullmatch(r"\w+(\.\w+)+", point)
        for given, valid in ((point, faults.POINTS), (action, faults.ACTIONS)):
            if given not in valid and not (given is point and own):
                hint = nearest(given, valid)
                raise ValueError(f"{given!r} is not one of {', '.join(valid)}.{hint}")
        for number in itertools.islice(self._numbers, times):
            (self._faults / "armed" / f"{point}@{number}@{action}").touch()

    def wait_for_fault(self, point: str, times: int = 1, timeout: float = TIMEOUT) -> None:
        """Wait until a fault point has been reached *times* times, not counting released ones.

        :param timeout: seconds. Default: 60.
        :raises AssertionError: it has not in time, or the daemon has ended. Contains its log.
        """
        self._wait(lambda: len(self._reached(point)) >= times, timeout, f"no fault at {point}")

    def release(self, point: str) -> None:
        """Let the threads that hang at a fault point continue."""
        for reached in self._reached(point):
            reached.unlink()

    # -- inside -----------------------------------------------------------------------

    def _program(self) -> list[str]:
        """The command line before the arguments."""
        module = "pooldaemon.testing" if self._databases else "django"
        return [sys.executable, "-m", module]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **self._variables,
            DATABASES: json.dumps(self._databases),
            faults.VARIABLE: str(self._faults),
        }

    def _files(self) -> list[Path]:
        """The pidfile and the files beside it, unless another daemon has locked it."""
        path = self.pidfile
        try:
            if path is None or lock_holder(path) is not None:
                return []
        except OSError:  # it can't have been this daemon's
            return []
        found = [*path.parent.glob(path.name), *path.parent.glob(f"{path.name}.*")]
        return [path for path in found if not path.is_dir()]

    def _reached(self, point: str) -> list[Path]:
        return [*(self._faults / "reached").glob(f"{point}@*")]

    def _is_ready(self) -> bool:
        with suppress(OSError):
            return bool(self.status()["ready"])
        return False

    def _path(self, option: str) -> Path | None:
        words = iter(self._arguments)
        for word in words:
            name, _, value = word.partition("=")
            if name == option:
                return self._cwd / (value or next(words))
        return None

    def _wait(self, condition: Callable[[], T], timeout: float, otherwise: str) -> T:
        """Wait for *condition* while the daemon runs."""

        def look() -> T:
            status = self.process.poll()  # first, so that the daemon's last actions are seen
            value = condition()
            # The launching process of a detached daemon ends with status 0.
            if status and not value:
                raise AssertionError(f"it has ended with status {status}")
            return value

        with self._explained():
            return wait_until(look, timeout, otherwise)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Add the log to an ``AssertionError`` of the block."""
        try:
            yield
        except AssertionError as error:
            raise AssertionError(f"{self}: {error}\n{self.log}") from None

    def _living(self) -> set[int]:
        return {process.pid for process in self.members() if process.state != "Z"}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
