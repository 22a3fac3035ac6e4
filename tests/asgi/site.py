"""A real ASGI server with the project on it, and its clients."""

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

from tests.mysql.scratch import Scratch
from tests.support.poll import wait_until

DEADLINE = 30.0


class Site:
    """:param cap: of its pool."""

    def __init__(self, database: Scratch, cap: int) -> None:
        self.database = database
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            self._port = listener.getsockname()[1]
            descriptor = listener.fileno()
            uvicorn = [sys.executable, "-m", "uvicorn", "--log-level", "warning"]
            self._process = subprocess.Popen(
                [*uvicorn, "--fd", str(descriptor), "tests.asgi.project.asgi:application"],
                env=os.environ
                | {
                    "DJANGO_SETTINGS_MODULE": "tests.asgi.project.settings",
                    "DATABASE_URL": database.account.url,
                    "CAP": str(cap),
                },
                pass_fds=[descriptor],
            )

    def stop(self) -> None:
        """Let it finish what it has begun; it leaves no session behind."""
        self._process.terminate()
        self._process.wait(DEADLINE)
        wait_until(lambda: not self.database.sessions(), DEADLINE, "it left sessions behind")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def send(self, view: str) -> HTTPConnection:
        """A request that is on its way."""
        client = HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)
        client.request("GET", f"/{view}", headers={"Connection": "close"})
        return client

    def stats(self) -> dict[str, Any]:
        """The statistics of the server's only pool."""
        stats: dict[str, Any] = json.loads(answer(self.send("stats"))[1])
        return stats


def answer(client: HTTPConnection) -> tuple[int, str]:
    """Status and body."""
    with closing(client):
        response = client.getresponse()
        return response.status, response.read().decode()
