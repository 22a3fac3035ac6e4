"""Web processes publish their pools."""

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse

from pooldaemon.dashboard import middleware
from pooldaemon.dashboard.models import Snapshot
from tests.dashboard.databases import OwnDatabase
from tests.servers.server import BIN, PATIENCE, ask, running, stop, wait_for_answer
from tests.support.poll import wait_until


def pools_of(row: Snapshot) -> list[dict[str, Any]]:
    (process,) = row.data["workers"]
    pools: list[dict[str, Any]] = process["pools"]
    return pools


@pytest.mark.django_db(transaction=True)
def test_each_process_of_a_server_that_forks_publishes_its_own_pool(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    log = tmp_path / "log"
    options = ("--preload", "--workers", "2", "--bind", address, "--graceful-timeout", "1")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.dashboard.web",
        "WEB_DATABASE": json.dumps(OwnDatabase().settings),
    }
    command = [str(BIN / "gunicorn"), *options, "tests.dashboard.web:application()"]
    with running(command, environment, log) as server:
        wait_for_answer(f"http://{address}/", server, log)
        served: set[int] = set()

        def both_published() -> bool:
            served.add(int(ask(f"http://{address}/")))
            # What is published at the first request is from before its view has connected.
            connected = lambda row: any(p["connects"] for p in pools_of(row))  # noqa: E731
            pids = {row.data["pid"] for row in Snapshot.objects.all() if connected(row)}
            return len(pids) == 2 and pids == served

        wait_until(both_published, PATIENCE, "two processes have published")
        stop(server, log)
    for row in Snapshot.objects.all():
        assert row.data["pid"] != server.pid
        assert [pool["connects"] for pool in pools_of(row)] == [1]
    assert "Traceback" not in log.read_text()


def test_under_asgi_it_starts_the_same_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(middleware, "_start", lambda: started.append(os.getpid()))

    async def view(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("x")

    answer = asyncio.run(middleware.publish_pools(view)(HttpRequest()))
    assert answer.content == b"x"
    assert started == [os.getpid()]
