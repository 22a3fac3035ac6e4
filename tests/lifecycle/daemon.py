"""A daemon of the tests' own project, with its journal and its database."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pooldaemon.testing import DaemonProcess, processes, wait_until
from pooldaemon.testing.daemon import GONE, TIMEOUT
from tests.lifecycle.databases import Database
from tests.lifecycle.project.journal import VARIABLE, Journal

ROOT = Path(__file__).parents[2]
UNITS = "tests.lifecycle.project.units"


class Daemon(DaemonProcess):
    """Runs `python -m django ARGUMENTS` in `directory`."""

    def __init__(
        self, directory: Path, database: Database, arguments: Sequence[str], **settings: Any
    ) -> None:
        super().__init__(directory, arguments, cwd=directory)
        self.database = database
        self.journal = Journal(directory)
        self._settings = {"DATABASES": {"default": database.settings}, **settings}

    def wait_for(
        self, kind: str, count: int = 1, timeout: float = TIMEOUT, **values: Any
    ) -> list[dict[str, Any]]:
        """Wait until the daemon has noted so many events of a kind."""

        def enough() -> list[dict[str, Any]]:
            events = self.journal.events(kind, **values)
            return events if len(events) >= count else []

        return self._wait(enough, timeout, f"not {count} times {kind!r}")

    def wait_for_threads(self, kind: str, count: int) -> None:
        """Wait until so many threads, of all workers, have noted an event."""

        def threads() -> bool:
            return len({(e["pid"], e["thread"]) for e in self.journal.events(kind)}) >= count

        self._wait(threads, TIMEOUT, f"not {kind!r} in {count} threads")

    def assert_nothing_left(self, timeout: float = GONE) -> None:
        super().assert_nothing_left(timeout)
        # The server lets go of a session a little after its client.
        wait_until(lambda: not self.database.sessions(), timeout, "sessions are left")

    def _environment(self) -> dict[str, str]:
        return {
            **super()._environment(),
            "DJANGO_SETTINGS_MODULE": "tests.lifecycle.project.settings",
            "LIFECYCLE_SETTINGS": json.dumps(self._settings),
            "PYTHONPATH": str(ROOT),
            VARIABLE: str(self.directory),
        }

    def adopt(self, pid: int) -> None:
        """Count a detached process, which has left the session, as part of it."""
        process = processes.find(pid)
        assert process is not None
        self._sessions.add(process.session)
