"""Servers that run the page of notes: how each is started, and what it takes."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

from benchmarks.project import DATABASE
from benchmarks.server import Target
from scripts.throwaway_mariadb import free_port
from tests.servers.server import running, wait_for_answer
from tests.support.poll import wait_until
from tests.support.server import Admin

THREADS = 16
PATIENCE = 30.0
"""Seconds after which a server that does not come to rest, or leaves sessions, fails the run."""

GUNICORN = "gunicorn"
UVICORN = "uvicorn"

COMMANDS: Mapping[str, list[str]] = {
    GUNICORN: [
        *("gunicorn", "benchmarks.project.notes_apps:wsgi", "--workers=1"),
        *("--worker-class=gthread", f"--threads={THREADS}", "--keep-alive=60"),
        "--bind=127.0.0.1:{port}",
    ],
    # Its own parser and loop, also where faster ones happen to be installed.
    UVICORN: [
        *("uvicorn", "benchmarks.project.notes_apps:asgi", "--http=h11", "--loop=asyncio"),
        *("--log-level=warning", "--no-access-log", "--timeout-keep-alive=60"),
        *("--host=127.0.0.1", "--port={port}"),
    ],
}
"""What follows ``python -m``, by server."""


class Site:
    """A server at work.

    :ivar url: of its page, without the number of queries.
    """

    def __init__(self, url: str, leader: int, admin: Admin, database: str) -> None:
        self.url = url
        self._leader = leader
        self._admin = admin
        self._database = database

    def sessions(self) -> int:
        """How many it has on the database server at this moment."""
        return _sessions(self._admin, self._database)

    def processor_time(self) -> float:
        """Seconds that its processes have had so far, in user and system mode."""
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                # The name may contain spaces, and brackets.
                fields = path.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[2]) == self._leader:  # its process group
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def settle(self) -> None:
        """Wait until it has finished requests whose clients have gone."""
        wait_until(self._is_idle, PATIENCE, f"{self.url} does not come to rest")

    def _is_idle(self) -> bool:
        before = self.processor_time()
        sleep(0.1)
        return self.processor_time() - before < 0.02


@contextmanager
def started(server: str, settings: Mapping[str, Any], target: Target) -> Iterator[Site]:
    """Run a server until the end of the block; then neither process nor session is left.

    :param settings: of its database.
    :raises AssertionError: it does not answer, or leaves sessions behind.
    """
    port = free_port()
    words = [word.format(port=port) for word in COMMANDS[server]]
    url = f"http://127.0.0.1:{port}/"
    with target.admin() as admin, tempfile.TemporaryDirectory(prefix="sites-") as name:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.notes_settings",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "XDG_RUNTIME_DIR": name,  # where gunicorn leaves its control socket
            DATABASE: json.dumps(settings),
        }
        log = Path(name, "log")
        try:
            with running([sys.executable, "-m", *words], environment, log) as process:
                wait_for_answer(f"{url}1", process, log)
                yield Site(url, process.pid, admin, target.database)
        finally:
            wait_until(
                lambda: not _sessions(admin, target.database), PATIENCE, f"{server} left sessions"
            )


def _sessions(admin: Admin, database: str) -> int:
    return sum(session.database == database for session in admin.processlist())
