"""Hooks that take their time: within bounds of their own, with signs of life meanwhile."""

import os
import signal
from pathlib import Path

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT
from tests.lifecycle.databases import SQLiteDatabase
from tests.lifecycle.test_reload import write_code
from tests.lifecycle.test_vitals import Systemd, systemd  # noqa: F401 - a fixture
from tests.support.poll import wait_until


def test_a_worker_exit_that_is_slower_than_heartbeats_may_end(
    start_work: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    options = ("--heartbeat-timeout=3", "--graceful-timeout=1", f"--pidfile={tmp_path / 'pid'}")
    daemon = start_work(sqlite, "idle", *options, "--in-worker_exit", "tell_and_wait")
    daemon.wait_for("unit")
    daemon.signal(signal.SIGTERM)
    daemon.wait_for("waits")
    wait_until(
        lambda: daemon.status()["workers"][0]["state"] == "exiting", TIMEOUT, "it reports that"
    )
    daemon.assert_clean_end()
    assert daemon.journal.events("has waited")


def test_a_worker_exit_that_hangs_is_ended_and_logged(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(
        sqlite,
        "idle",
        "--exit-timeout=1",
        "--graceful-timeout=1",
        "--in-worker_exit",
        "wait_for_gate",
    )
    daemon.wait_for("unit")
    (worker,) = daemon.workers
    os.kill(worker, signal.SIGTERM)  # it is replaced, as one that is too old
    (death,) = daemon.wait_for("worker_died", worker_pid=worker)
    assert (death["signal"], death["reason"]) == ("SIGKILL", "worker_exit took too long")
    daemon.wait_for("worker_init", 2)
    daemon.signal(signal.SIGTERM)
    daemon.assert_clean_end(4)


def test_a_setup_that_hangs_ends_the_start(start_work: StartDaemon, sqlite: SQLiteDatabase) -> None:
    options = ("--setup-timeout=1", "--in-setup", "tell_and_wait_for_gate", "--pidfile=pid")
    daemon = start_work(sqlite, "idle", *options)
    daemon.assert_clean_end(1)
    assert "setup() has taken longer than 1 s" in daemon.err
    assert daemon.journal.events("worker_init") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_setup_that_is_slow_does_not_hold_up_the_end(
    start_work: StartDaemon, sqlite: SQLiteDatabase, number: signal.Signals
) -> None:
    daemon = start_work(sqlite, "idle", "--in-setup", "tell_and_wait_for_gate", "--pidfile=pid")
    daemon.wait_for("waits")
    daemon.signal(number)
    daemon.assert_clean_end()
    assert daemon.journal.events("worker_init") == []


SLOW = """
import time
version = 'second'
def hook(process):
    if process == {process!r}:
        time.sleep({seconds})
"""
SLOW_SECONDS = 9


@pytest.mark.parametrize(
    ("hook", "process"), [("setup", "supervisor"), ("worker_init", "worker-1")]
)
def test_a_reload_with_a_slow_hook_is_not_silent(
    start_work: StartDaemon,
    sqlite: SQLiteDatabase,
    systemd: Systemd,  # noqa: F811
    hook: str,
    process: str,
) -> None:
    options = (f"--in-{hook}=run_code", "--health-file=health")
    daemon = start_work(sqlite, "idle", *options)
    systemd.wait_for("READY=1")
    health = daemon.directory / "health"
    wait_until(health.exists, TIMEOUT, "the health file")
    write_code(daemon, SLOW.format(process=process, seconds=SLOW_SECONDS))
    daemon.signal(signal.SIGHUP)
    longest = touched = 0.0

    def done() -> bool:
        nonlocal longest, touched
        now = health.stat().st_mtime
        longest, touched = max(longest, now - touched if touched else 0.0), now
        return systemd.count("READY=1") == 2

    wait_until(done, TIMEOUT, "the reload")
    # Django is loaded in between. Silent in the hook, it would have been as long as that.
    assert longest < SLOW_SECONDS
    daemon.stop()
    assert systemd.count("WATCHDOG=1") > 5
