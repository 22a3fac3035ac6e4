"""A daemon under test: a real process, started as a user would, and seen through to its end."""

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
"""Seconds for what takes one on an idle machine."""

GONE = 10.0
"""Seconds after the daemon's own end within which all others have to be gone. After a kill of the
supervisor its workers take up to two; then they are orphans, which some init processes collect
seconds late."""


class DaemonProcess:
    """Runs a daemon command in a session of its own, from ``with`` to the end of the block.

    What is left then is killed, and that something was left is an error. Linux only: ``/proc``
    tells which processes belong to it, also when their parents are gone. Main thread only.

    :param directory: made here, and its alone: by it, its processes are known.
    :param arguments: what stands after ``manage.py``. All but the simplest wants ``--pidfile``.
    :param databases: names of databases by alias, in the place of those in the settings.
    :param environment: variables beside this process's own.
    :param cwd: where it runs. Default: where this process does.
    """

    prefix: tuple[str, ...] = ()
    """A command to run it under."""
    stdin: int = subprocess.DEVNULL

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
        if self.process.poll() is not None:  # the others may be about to end
            with suppress(AssertionError):
                wait_until(lambda: not self.members(), GONE, "")
        left = self.members()
        pids = {process.pid for process in left}
        # Parents first: a supervisor would start another worker in the place of one that dies.
        for process in sorted(left, key=lambda process: process.parent in pids):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not self._living(), TIMEOUT, "processes survive kill -9")
        os.close(self._owner)
        if left and exc_info[0] is None:
            with self._explained():
                raise AssertionError("it was left running")

    def __str__(self) -> str:
        return f"the daemon {' '.join(self._arguments)}"

    # -- looking ----------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The supervisor's, if it runs in the foreground."""
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
        """All that it has written."""
        logfile = self._path("--logfile")
        # A device is no file: /dev/full has no end.
        return self.out + self.err + (_read(logfile) if logfile and logfile.is_file() else "")

    @property
    def workers(self) -> set[int]:
        """The pids of the supervisor's living children."""
        return {child.pid for child in processes.children(self.pid) if child.state != "Z"}

    def members(self) -> list[processes.Process]:
        """Its processes, those without a parent and zombies included."""
        # Zombies have no environment, those who left the session no mark in it: look for both.
        marked = processes.with_variable(faults.VARIABLE, str(self._faults))
        return [p for p in processes.every() if p.session in self._sessions or p.pid in marked]

    @property
    def pidfile(self) -> Path | None:
        """As it was given."""
        return self._path("--pidfile")

    def status(self) -> dict[str, Any]:
        """What ``status --json`` would tell. Needs ``--pidfile``.

        :raises OSError: it does not answer.
        :raises ValueError: it was given no pidfile.
        """
        if self.pidfile is None:
            raise ValueError(f"{self} has no --pidfile")
        return ask(self.pidfile.with_name(self.pidfile.name + ".sock"), "status")

    def wait_until_ready(self, timeout: float = TIMEOUT) -> None:
        """Wait until all workers are ready.

        :param timeout: seconds.
        :raises AssertionError: they are not, or the daemon has ended; with its log.
        """
        self._wait(self._is_ready, timeout, "not all workers are ready")

    def wait_for_log(self, text: str, timeout: float = TIMEOUT) -> None:
        """Wait until this stands in the log."""
        self._wait(lambda: text in self.log, timeout, f"no {text!r} in the log")

    def log_lines(self, *texts: str) -> list[str]:
        """The lines of the log that hold every one of these texts."""
        return [line for line in self.log.splitlines() if all(text in line for text in texts)]

    # -- acting -----------------------------------------------------------------------

    def signal(self, number: signal.Signals) -> None:
        """Send it to the supervisor."""
        self.process.send_signal(number)

    def stop(self) -> None:
        """Let it drain, and end in order."""
        self.signal(signal.SIGTERM)
        self.assert_clean_end()

    def assert_clean_end(self, status: int = 0, timeout: float = TIMEOUT) -> None:
        """Wait for its end, which must have this exit status and leave nothing behind.

        :param timeout: seconds.
        :raises AssertionError: it goes on, has another status, or a process (zombies included),
            the pidfile or one of the files beside it is left. With its log.
        """
        with self._explained():
            try:
                found = self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"it still runs after {timeout:g} s") from None
            if found != status:
                raise AssertionError(f"it has ended with {found}, not {status}")
            if left := self._files():
                raise AssertionError(f"files are left: {', '.join(map(str, left))}")
        self.assert_nothing_left()

    def assert_nothing_left(self, timeout: float = GONE) -> None:
        """No process of it, zombies included, is there after *timeout* seconds."""
        with self._explained():
            wait_until(lambda: not self.members(), timeout, "processes are left")

    # -- failing ----------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the directory; what is armed after it is there when the daemon starts."""
        if self._faults.exists():
            return
        self.directory.mkdir()
        self._faults.mkdir(mode=0o700)
        (self._faults / "armed").mkdir()
        (self._faults / "reached").mkdir()
        # Held until the end, whatever that is: the daemon looks whether its test still runs.
        self._owner = os.open(self._faults / faults.OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._owner, fcntl.LOCK_EX)

    def arm(self, point: str, action: str, times: int = 1) -> None:
        """Let whichever process comes first to a fault point fail there.

        :param point: one of ``pooldaemon.faults.POINTS``, or one of yours, which has a dot.
        :param action: ``"crash"``, ``"hang"`` until :meth:`release`, or ``"raise"``.
        :param times: how often.
        :raises ValueError: there is no such point or action.
        """
        own = re.fullmatch(r"\w+(\.\w+)+", point)
        for given, valid in ((point, faults.POINTS), (action, faults.ACTIONS)):
            if given not in valid and not (given is point and own):
                hint = nearest(given, valid)
                raise ValueError(f"{given!r} is not one of {', '.join(valid)}.{hint}")
        for number in itertools.islice(self._numbers, times):
            (self._faults / "armed" / f"{point}@{number}@{action}").touch()

    def wait_for_fault(self, point: str, times: int = 1, timeout: float = TIMEOUT) -> None:
        """Wait until it has failed there so often; a point that was released does not count."""
        self._wait(lambda: len(self._reached(point)) >= times, timeout, f"no fault at {point}")

    def release(self, point: str) -> None:
        """Let go on what hangs there."""
        for reached in self._reached(point):
            reached.unlink()

    # -- inside -----------------------------------------------------------------------

    def _program(self) -> list[str]:
        """What stands before the arguments."""
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
        """The pidfile and what there is beside it, unless another daemon has it."""
        path = self.pidfile
        try:
            if path is None or lock_holder(path) is not None:
                return []
        except OSError:  # it could not have been ours
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
        """Wait for it as long as the daemon runs."""

        def look() -> T:
            status = self.process.poll()  # before: what it did last is still seen
            value = condition()
            # A launcher that has detached its daemon ends with 0.
            if status and not value:
                raise AssertionError(f"it has ended with {status}")
            return value

        with self._explained():
            return wait_until(look, timeout, otherwise)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """An assertion that fails tells the log."""
        try:
            yield
        except AssertionError as error:
            raise AssertionError(f"{self}: {error}\n{self.log}") from None

    def _living(self) -> set[int]:
        return {process.pid for process in self.members() if process.state != "Z"}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
