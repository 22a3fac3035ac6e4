"""--metrics-address: a process of the daemon's own that answers Prometheus."""

import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pooldaemon.workers.ipc.control import ask
from tests.lifecycle import proc
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import MySQLDatabase, SQLiteDatabase
from tests.support.poll import wait_until
from tests.support.scrape import Scrape, scrape

pytestmark = pytest.mark.lifecycle

Start = Callable[..., Daemon]


@pytest.fixture
def start(start_work: StartDaemon, sqlite: SQLiteDatabase) -> Start:
    def started(unit: str = "idle", *options: str) -> Daemon:
        daemon = start_work(sqlite, unit, "--pidfile", "d.pid", "--metrics-address", ":0", *options)
        wait_until(lambda: status_of(daemon).get("ready"), TIMEOUT, "not ready")
        return daemon

    return started


def status_of(daemon: Daemon) -> dict[str, Any]:
    try:
        return ask(daemon.directory / "d.pid.sock", "status")
    except OSError:
        return {}


def url_of(daemon: Daemon) -> str:
    return f"http://{status_of(daemon)['metrics']['address']}/metrics"


def exporter_of(daemon: Daemon) -> int:
    def pid() -> int | None:
        # While new code is executed in its place, the supervisor does not answer.
        found: int | None = status_of(daemon).get("metrics", {}).get("pid")
        return found

    return wait_until(pid, TIMEOUT, "no exporter")


def test_a_scrape_has_all_workers_also_while_another_client_says_nothing(
    start: Start,
) -> None:
    daemon = start("use_connection", "--processes", "2", "--max-connections", "3")
    host, port = status_of(daemon)["metrics"]["address"].rsplit(":", 1)
    with socket.create_connection((host, int(port))):
        metrics = wait_until(lambda: scrape_of_pools(daemon, 2), TIMEOUT, "something is missing")
        assert metrics("pooldaemon_up", daemon="d") == 1
        assert metrics("pooldaemon_workers", state="ready") == metrics("pooldaemon_processes") == 2
        assert metrics("pooldaemon_worker_resident_memory_bytes", worker="worker-2") > 2**20
        assert metrics("pooldaemon_pool_max_connections", worker="worker-1") == 3
        daemon.stop()


@pytest.mark.mysql
def test_the_sessions_of_all_workers_are_those_of_the_processlist(
    start_work: StartDaemon, mysql: MySQLDatabase
) -> None:
    options = ["--pidfile", "d.pid", "--metrics-address", ":0", "--processes", "2"]
    daemon = start_work(mysql, "use_connection", *options, "--threads", "2")
    wait_until(lambda: status_of(daemon).get("ready"), TIMEOUT, "not ready")

    def agree() -> bool:
        sessions = scrape(url_of(daemon)).samples("pooldaemon_pool_sessions")
        return sum(sessions) == len(mysql.sessions()) == 4

    wait_until(agree, TIMEOUT, "not the server's sessions")
    daemon.stop()


def scrape_of_pools(daemon: Daemon, count: int) -> Scrape | None:
    """The metrics, once so many workers have reported their pools, and one a unit."""
    metrics = scrape(url_of(daemon))
    pools = metrics.samples("pooldaemon_pool_use_seconds_count")
    return metrics if len(pools) == count and metrics("pooldaemon_units_total") else None


def test_an_exporter_that_dies_is_replaced_and_who_asks_meanwhile_waits(start: Start) -> None:
    daemon = start()
    first = exporter_of(daemon)
    os.kill(first, signal.SIGKILL)
    assert scrape(url_of(daemon))("pooldaemon_up") == 1
    assert exporter_of(daemon) != first
    assert status_of(daemon)["metrics"]["deaths"] == 1
    assert daemon.log_lines("metrics exporter", f"pid {first}", "ended with -9")
    daemon.stop()


def test_the_exporter_dies_with_a_supervisor_that_is_killed(start: Start) -> None:
    daemon = start()
    exporter_of(daemon)
    daemon.signal(signal.SIGKILL)
    daemon.process.wait()
    wait_until(lambda: not daemon.members(), TIMEOUT, "processes are left")


def test_only_the_supervisor_and_the_exporter_hold_the_address(start: Start) -> None:
    daemon = start()
    port = status_of(daemon)["metrics"]["address"].rsplit(":", 1)[1]
    lines = Path("/proc/net/tcp").read_text().splitlines()
    (inode,) = (line.split()[9] for line in lines if f":{int(port):04X} 00000000:0000 0A" in line)
    exporter = exporter_of(daemon)
    holders = {
        pid
        for pid in (daemon.process.pid, *daemon.workers)
        if f"socket:[{inode}]" in proc.descriptors(pid).values()
    }
    assert holders == {daemon.process.pid, exporter}
    daemon.stop()


def busy_seconds(pid: int) -> float:
    """For how long its main thread has run, or wanted to, on a machine however busy."""
    running, runnable, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return (int(running) + int(runnable)) / 1e9


def test_an_exporter_without_a_free_descriptor_waits_for_one(start: Start) -> None:
    daemon = start()
    url, exporter = url_of(daemon), exporter_of(daemon)
    assert scrape(url)("pooldaemon_up") == 1  # all that it opens for good is open
    host, port = status_of(daemon)["metrics"]["address"].rsplit(":", 1)
    used = proc.descriptors(exporter)
    free = [number for number in range(max(used) + 4) if number not in used]
    _, most = resource.prlimit(exporter, resource.RLIMIT_NOFILE)
    resource.prlimit(exporter, resource.RLIMIT_NOFILE, (free[3], most))
    with ExitStack() as silent:
        for _ in range(10):
            silent.enter_context(socket.create_connection((host, int(port))))
        daemon.wait_for_log("can't accept a client, and will try again: [Errno 24]")
        assert proc.descriptors(exporter).keys() >= {*free[:3]}
        before = busy_seconds(exporter)
        time.sleep(1.0)  # what it does in this time is what is looked at
        assert busy_seconds(exporter) - before < 0.6
    assert scrape(url)("pooldaemon_up") == 1
    assert exporter_of(daemon) == exporter
    assert len(daemon.log_lines("can't accept a client")) == 1
    daemon.stop()


def test_after_a_reload_new_code_answers_at_the_same_address(start: Start) -> None:
    daemon = start()
    url, first = url_of(daemon), exporter_of(daemon)
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: exporter_of(daemon) != first, TIMEOUT, "no other exporter")
    assert scrape(url)("pooldaemon_reloads_total") == 1
    assert url_of(daemon) == url
    assert status_of(daemon)["metrics"]["deaths"] == 0
    daemon.stop()
