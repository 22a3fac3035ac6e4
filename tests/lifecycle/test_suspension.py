"""A daemon that did not run for a while: a paused container, a suspended machine."""

import os
import signal
import time

from pooldaemon.testing import processes
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.support.freeze import freeze
from tests.support.poll import wait_until

SUSPENDED = 5.0
"""Seconds, longer than all timeouts of these tests."""


def suspend(*pids: int, first: int) -> None:
    """Stop these processes for a while. Which one goes on first is chance: the test says it."""
    for pid in pids:
        freeze(pid)
    frozen = time.monotonic()
    wait_until(lambda: time.monotonic() > frozen + SUSPENDED, TIMEOUT, "time to pass")
    os.kill(first, signal.SIGCONT)
    others = [pid for pid in pids if pid != first]
    # It has looked at once what is late.
    wait_until(lambda: _sleeps(first), TIMEOUT, "its first round")
    for pid in others:
        os.kill(pid, signal.SIGCONT)


def _sleeps(pid: int) -> bool:
    process = processes.find(pid)
    return process is not None and process.state == "S"


def test_workers_that_were_suspended_with_their_supervisor_have_kept_their_time(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    options = ("--processes=2", "--heartbeat-timeout=3", "--unit-timeout=4")
    daemon = start_work(sqlite, "hold", *options)
    daemon.wait_for("started", 2)
    workers = daemon.workers
    for _ in range(2):
        suspend(daemon.pid, *workers, first=daemon.pid)
    assert_nobody_was_judged(daemon)
    assert daemon.workers == workers
    daemon.journal.open_gate()
    daemon.wait_for("finished", 2)
    daemon.stop()


def test_the_time_to_drain_goes_on_where_it_was(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "hold", "--graceful-timeout=4")
    daemon.wait_for("started")
    workers = daemon.workers
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("draining")
    suspend(daemon.pid, *workers, first=daemon.pid)
    daemon.journal.open_gate()
    daemon.assert_clean_end()
    assert len(daemon.journal.events("finished")) == 1


def test_a_supervisor_that_was_stopped_alone_reads_its_messages_before_it_judges(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--processes=2", "--heartbeat-timeout=3")
    daemon.wait_for_threads("unit", 2)
    workers = daemon.workers
    suspend(daemon.pid, first=daemon.pid)
    units = len(daemon.journal.events("unit"))
    daemon.wait_for("unit", units + 10)
    assert daemon.workers == workers
    assert_nobody_was_judged(daemon)
    daemon.stop()


def assert_nobody_was_judged(daemon: Daemon) -> None:
    assert not daemon.log_lines("no heartbeat"), daemon.log
    assert not daemon.log_lines("unit_timeout is"), daemon.log
    assert daemon.journal.events("worker_died") == []
