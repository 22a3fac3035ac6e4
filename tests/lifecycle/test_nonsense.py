"""A daemon goes on with its work while clients send it nonsense. See :mod:`tests.unit.nonsense`."""

import json
import socket
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from pooldaemon.pool_commands import LASTING_STATE
from pooldaemon.workers.ipc.control import CLIENT_TIMEOUT, ask
from tests.lifecycle import proc
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.support.poll import wait_until
from tests.unit.nonsense import SECONDS, SHARES, WAYS, Nonsense, requests, send

CLIENTS = 4


def changes_it(line: bytes) -> bool:
    """Whether a request that makes sense came out of it, and one for more than a look."""
    try:
        request: Any = json.loads(line)
    except (ValueError, RecursionError):
        return False
    command = request.get("command") if isinstance(request, dict) else None
    return isinstance(command, str) and command in {"stop", "reload", "scale", *LASTING_STATE}


def bombard(path: Path, nonsense: Nonsense, end: float) -> None:
    while time.monotonic() < end:
        lines = requests(nonsense)
        if any(map(changes_it, [*lines, b"".join(lines)])):
            continue
        with closing(socket.socket(socket.AF_UNIX)) as client, suppress(OSError):
            client.settimeout(0.5)
            client.connect(str(path))
            way = nonsense.random.randrange(WAYS)
            send(client, b"".join(lines), way, lambda: None)
            if way != 4:
                client.recv(2**20)


def test_nonsense_on_the_control_socket_ends_and_delays_nothing(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "use_connection", "--pidfile", "d.pid", "--processes", "2")
    path = daemon.directory / "d.pid.sock"
    daemon.wait_until_ready()
    before, descriptors = ask(path, "status"), len(proc.descriptors(daemon.pid))
    workers = daemon.workers
    end = time.monotonic() + max(2.0, SECONDS / SHARES)
    clients = [
        threading.Thread(target=bombard, args=(path, Nonsense(number), end))
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    slowest = 0.0
    while any(client.is_alive() for client in clients):
        began = time.monotonic()
        status = ask(path, "status")
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.01)  # it is asked now and then, not in place of the others
    for client in clients:
        client.join()
    assert slowest < CLIENT_TIMEOUT
    assert status["units"] > before["units"]
    after = ask(path, "status")
    assert (after["pid"], daemon.workers) == (before["pid"], workers)
    assert (after["restarts"], after["troubles"], after["standing"]) == (0, [], [])
    assert {worker["state"] for worker in after["workers"]} == {"ready"}

    def none_left() -> bool:
        # The client that has just asked may not have been let go.
        return len(proc.descriptors(daemon.pid)) <= descriptors

    wait_until(none_left, 2 * CLIENT_TIMEOUT, "descriptors are left")
    assert "Traceback" not in daemon.log
    daemon.stop()
