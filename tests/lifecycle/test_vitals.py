"""Signs of life: systemd's messages in their order, the unit file, the health file."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT
from tests.lifecycle.databases import SQLiteDatabase
from tests.support.freeze import freeze
from tests.support.poll import wait_until


class Systemd:
    """The socket that systemd gives a service, and what has come to it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.messages: list[str] = []

    def look(self) -> list[str]:
        try:
            while True:
                self.messages.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return self.messages

    def wait_for(self, message: str, count: int = 1) -> None:
        wait_until(lambda: self.count(message) >= count, TIMEOUT, message)

    def count(self, message: str) -> int:
        return sum(m.startswith(message) for m in self.look())

    def wait_for_silence(self, message: str, seconds: float) -> None:
        """Wait until it has not come for so long."""
        heard, since = self.count(message), time.monotonic()

        def silent() -> bool:
            nonlocal heard, since
            if (count := self.count(message)) > heard:
                heard, since = count, time.monotonic()
            return time.monotonic() > since + seconds

        wait_until(silent, TIMEOUT, f"{message} all the time")

    def steps(self) -> list[str]:
        return [
            m.partition("\n")[0]
            for m in self.look()
            if not m.startswith(("STATUS", "WATCH", "EXT"))
        ]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    # A path of pytest's own may be longer than an address can be.
    path = Path(f"/tmp/pooldaemon-notify-{os.getpid()}")
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    watcher = Systemd(path)
    yield watcher
    watcher.close()
    path.unlink()


def test_systemd_is_notified_of_every_step_in_order(
    start_work: StartDaemon, sqlite: SQLiteDatabase, systemd: Systemd
) -> None:
    daemon = start_work(sqlite, "idle", "--processes", "2")
    systemd.wait_for("READY=1")
    assert len(daemon.journal.events("worker_init")) == 2
    systemd.wait_for("WATCHDOG=1", 2)
    daemon.signal(signal.SIGHUP)
    systemd.wait_for("READY=1", 2)
    daemon.signal(signal.SIGTERM)
    systemd.wait_for("STOPPING=1")  # the socket has room for ten messages
    daemon.assert_clean_end()
    assert systemd.steps() == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    (stopping,) = [m for m in systemd.messages if m.startswith("STOPPING=1")]
    # The timeouts of units and of worker_exit, and a margin: a unit that knows of none of them is
    # to wait so long.
    assert stopping.partition("EXTEND_TIMEOUT_USEC=")[2] == "75000000"
    (reloading,) = [m for m in systemd.messages if m.startswith("RELOADING=1")]
    reloaded_at = int(reloading.partition("MONOTONIC_USEC=")[2]) / 1e6
    assert 0 < time.monotonic() - reloaded_at < TIMEOUT
    assert "STATUS=running, 2 of 2 workers ready" in systemd.messages
    # A slow setup() is not to be killed, at the start and in the reload.
    assert systemd.messages[:4] == [
        "WATCHDOG_USEC=75000000", "EXTEND_TIMEOUT_USEC=75000000",
        "WATCHDOG_USEC=10000000", "EXTEND_TIMEOUT_USEC=75000000",
    ]  # fmt: skip
    assert systemd.count("WATCHDOG_USEC=75000000") == 2
    assert systemd.count("WATCHDOG_USEC=165000000") == 1  # while the new code is loaded
    assert systemd.messages[4] == "STATUS=starting, 0 of 2 workers ready"
    assert systemd.messages.index("WATCHDOG=1") >= 1


def test_a_supervisor_that_hangs_gives_no_sign_of_life(
    start_work: StartDaemon, sqlite: SQLiteDatabase, systemd: Systemd
) -> None:
    daemon = start_work(sqlite, "idle", "--health-file", "health")
    health = daemon.directory / "health"
    wait_until(health.exists, TIMEOUT, "the health file")
    systemd.wait_for("WATCHDOG=1", 2)
    freeze(daemon.process.pid)
    systemd.look()
    messages, touched = len(systemd.messages), health.stat().st_mtime
    frozen = time.monotonic()
    wait_until(lambda: time.monotonic() > frozen + 2.5, 5, "time to pass")
    assert len(systemd.look()) == messages
    assert health.stat().st_mtime == touched
    daemon.signal(signal.SIGCONT)
    systemd.wait_for("WATCHDOG=1", messages)
    daemon.stop()
    assert not health.exists()


def test_workers_that_all_hang_give_no_sign_of_life_and_one_that_works_is_enough(
    start_work: StartDaemon, sqlite: SQLiteDatabase, systemd: Systemd
) -> None:
    daemon = start_work(sqlite, "idle", "--processes", "2")
    systemd.wait_for("READY=1")
    workers = daemon.workers
    for worker in workers:
        freeze(worker)
    systemd.wait_for_silence("WATCHDOG=1", 2.5)
    fed = systemd.count("WATCHDOG=1")
    os.kill(workers.pop(), signal.SIGCONT)
    systemd.wait_for("WATCHDOG=1", fed + 1)
    os.kill(workers.pop(), signal.SIGCONT)
    daemon.stop()


def test_the_health_file_is_young_while_workers_live(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(
        sqlite, "idle", "--health-file", "health", "--in-worker_init", "wait_for_gate"
    )
    health = daemon.directory / "health"
    daemon.wait_for("worker_init")
    assert not health.exists()
    daemon.journal.open_gate()
    wait_until(health.exists, TIMEOUT, "the health file")
    first = health.stat().st_mtime
    wait_until(lambda: health.stat().st_mtime > first + 1, TIMEOUT, "its age to start anew")
    daemon.stop()
    assert not health.exists()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_that_is_printed_is_one_that_systemd_accepts(
    start_work: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    options = ("--print-systemd", "--pidfile", "a file 100%.pid", "--graceful-timeout", "60")
    printer = start_work(sqlite, "idle", *options)
    printer.process.wait(TIMEOUT)
    assert printer.err == ""
    unit = tmp_path / "work.service"
    unit.write_text(printer.out)
    for line in (
        f"WorkingDirectory={printer.directory}",
        'Environment="DJANGO_SETTINGS_MODULE=tests.lifecycle.project.settings"',
        "Type=notify",
        "TimeoutStartSec=195",
        "TimeoutStopSec=105",
    ):
        assert line in printer.out.splitlines()
    (start,) = [line for line in printer.out.splitlines() if line.startswith("ExecStart=")]
    assert '--pidfile "a file 100%%.pid"' in start
    assert "--print-systemd" not in start
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert str(unit) not in checked.stderr
