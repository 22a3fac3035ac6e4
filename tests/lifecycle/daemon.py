"""A daemon under test: a real process, started as a user would, and seen through to its end."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.lifecycle import processes
from tests.lifecycle.databases import Database
from tests.lifecycle.project.journal import VARIABLE, Journal
from tests.support.poll import wait_until

ROOT = Path(__file__).parents[2]
TIMEOUT = 20.0  # seconds for what takes one on an idle machine
UNITS = "tests.lifecycle.project.units"


class Daemon:
    """Runs `python -m django ARGUMENTS` in a session of its own.

    `directory` is its working directory and belongs to it alone; by it, its processes are known
    even when their parents are gone.
    """

    stdin = subprocess.DEVNULL
    prefix: tuple[str, ...] = ()
    """A command to run it under."""

    def __init__(
        self, directory: Path, database: Database, arguments: Sequence[str], **settings: Any
    ) -> None:
        self.directory = directory
        self.database = database
        self.journal = Journal(directory)
        self._arguments = [*arguments]
        self._settings = {"DATABASES": {"default": database.settings}, **settings}
        options = itertools.pairwise(arguments)
        self._pidfiles = [directory / value for name, value in options if name == "--pidfile"]
        self._sessions: set[int] = set()

    def __enter__(self) -> Self:
        self.directory.mkdir()
        with self._file("out").open("wb") as out, self._file("err").open("wb") as err:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "django", *self._arguments],
                env=self._environment(),
                cwd=self.directory,
                stdin=self.stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._sessions.add(self.process.pid)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Kill what a failed test has left."""
        for pid in self._living():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not self._living(), TIMEOUT, "processes survive kill -9")

    # -- looking ----------------------------------------------------------------------

    @property
    def out(self) -> str:
        return self._file("out").read_text()

    @property
    def err(self) -> str:
        return self._file("err").read_text()

    @property
    def workers(self) -> set[int]:
        return {child.pid for child in processes.children(self.process.pid) if child.state != "Z"}

    def members(self) -> list[processes.Process]:
        """Return its processes, those without a parent and those not reaped included."""
        # Zombies have no environment, those who left the session no mark in it: look for both.
        marked = processes.with_variable(VARIABLE, str(self.directory))
        return [p for p in processes.every() if p.session in self._sessions or p.pid in marked]

    def wait_for(
        self, kind: str, count: int = 1, timeout: float = TIMEOUT, **values: Any
    ) -> list[dict[str, Any]]:
        """Wait until the daemon has noted so many events of a kind."""

        def enough() -> list[dict[str, Any]]:
            self._check_life()
            events = self.journal.events(kind, **values)
            return events if len(events) >= count else []

        return wait_until(enough, timeout, f"{count} times {kind!r}")

    def wait_for_threads(self, kind: str, count: int) -> None:
        """Wait until so many threads, of all workers, have noted an event."""

        def threads() -> bool:
            self._check_life()
            return len({(e["pid"], e["thread"]) for e in self.journal.events(kind)}) >= count

        wait_until(threads, TIMEOUT, f"{kind!r} in {count} threads")

    def wait_for_log(self, text: str) -> None:
        wait_until(lambda: text in self.err, TIMEOUT, f"{text!r} in the log")

    def log_lines(self, *texts: str) -> list[str]:
        """Return the lines of the log that hold every one of these texts."""
        return [line for line in self.err.splitlines() if all(text in line for text in texts)]

    # -- acting -----------------------------------------------------------------------

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """End it in order."""
        self.signal(signal.SIGTERM)
        self.ends_with(0)

    def ends_with(self, status: int, timeout: float = TIMEOUT) -> None:
        """Wait for its end, which must have this status and leave nothing behind."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s\n{self.err}") from None
        assert self.process.returncode == status, f"{self.out}\n{self.err}"
        self.leaves_nothing()

    def leaves_nothing(self, timeout: float = 2.0) -> None:
        """No process, zombies included, no pidfile, no session on the server."""
        wait_until(lambda: not self.members(), timeout, "processes are left")
        assert not [path for path in self._pidfiles if path.is_file()]
        # The server lets go of a session a little after its client.
        wait_until(lambda: not self.database.sessions(), timeout, "sessions are left")

    def adopt(self, pid: int) -> None:
        """Count a detached process, which has left the session, as part of it."""
        process = processes.find(pid)
        assert process is not None
        self._sessions.add(process.session)

    # -- inside -----------------------------------------------------------------------

    def _file(self, name: str) -> Path:
        return self.directory / name

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.lifecycle.project.settings",
            "LIFECYCLE_SETTINGS": json.dumps(self._settings),
            "PYTHONPATH": str(ROOT),
            VARIABLE: str(self.directory),
        }

    def _check_life(self) -> None:
        status = self.process.poll()
        # A launcher that has detached its daemon ends with 0.
        assert not status, f"the daemon has ended with {status}\n{self.err}"

    def _living(self) -> set[int]:
        return {process.pid for process in self.members() if process.state != "Z"}
