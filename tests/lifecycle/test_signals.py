"""TERM and INT drain, a second one and QUIT kill, and the exit status says which."""

import os
import signal

import pytest

from pooldaemon.conf import DaemonConfig
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT
from tests.lifecycle.databases import Database, SQLiteDatabase
from tests.support.freeze import freeze

KILLED = 4
PATIENT = ("--graceful-timeout", "600")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_int_let_running_units_finish(
    start_daemon: StartDaemon, database: Database, number: signal.Signals
) -> None:
    daemon = start_daemon(database, "hold", "--processes", "2", "--threads", "2")
    daemon.wait_for("started", 4)
    daemon.signal(number)
    daemon.wait_for_log("draining")
    assert daemon.process.poll() is None
    daemon.journal.open_gate()
    daemon.assert_clean_end()
    assert len(daemon.journal.events("finished")) == 4
    assert len(daemon.journal.events("started")) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_as_from_a_terminal_drains_as_well(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, number: signal.Signals
) -> None:
    daemon = start_daemon(sqlite, "hold", "--processes", "2")
    daemon.wait_for("started", 2)
    os.killpg(daemon.process.pid, number)
    daemon.wait_for_log("draining")
    daemon.journal.open_gate()
    daemon.assert_clean_end()
    assert len(daemon.journal.events("finished")) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_setup_ends_the_daemon_without_a_worker_or_a_pidfile(
    start_work: StartDaemon, sqlite: SQLiteDatabase, number: signal.Signals
) -> None:
    daemon = start_work(sqlite, "idle", "--pidfile", "pid", "--in-setup", "wait_for_gate")
    daemon.wait_for("setup")
    daemon.signal(number)
    daemon.journal.open_gate()
    daemon.process.wait(TIMEOUT)
    daemon.assert_nothing_left()
    assert not (daemon.directory / "pid").exists()
    assert "Traceback" not in daemon.err
    assert daemon.journal.events("unit") == []


def test_a_worker_that_is_told_to_drain_while_it_boots_does_no_unit(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--in-worker_init", "wait_for_gate", "--threads", "8")
    daemon.wait_for("worker_init")
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("draining")
    daemon.journal.open_gate()
    daemon.assert_clean_end()
    assert daemon.journal.events("unit") == []


def test_a_worker_that_hangs_while_it_boots_is_killed_after_the_graceful_timeout(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    hang = ("--in-worker_init", "wait_for_gate", "--graceful-timeout", "0.3")
    daemon = start_work(sqlite, "idle", *hang)
    daemon.wait_for("worker_init")
    daemon.signal(signal.SIGTERM)
    daemon.assert_clean_end(KILLED, timeout=DaemonConfig.graceful_timeout / 2)


def test_an_idle_daemon_ends_at_once_on_term(start_daemon: StartDaemon, database: Database) -> None:
    daemon = start_daemon(database, "ask", "--threads", "3", "--idle-interval", "600")
    daemon.wait_for_threads("asked", 3)
    daemon.signal(signal.SIGTERM)
    daemon.assert_clean_end()


def test_term_interrupts_a_unit_that_waits(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_daemon(sqlite, "wait")
    daemon.wait_for("started")
    daemon.signal(signal.SIGTERM)
    daemon.assert_clean_end()
    (waited,) = daemon.journal.events("waited")
    assert waited["stopping"] is True
    assert waited["seen"] is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_second_signal_kills_units_that_do_not_finish(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, number: signal.Signals
) -> None:
    daemon = start_daemon(sqlite, "hold", "--processes", "2", "--threads", "2", *PATIENT)
    daemon.wait_for("started", 4)
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("draining")
    daemon.signal(number)
    daemon.assert_clean_end(KILLED)
    assert daemon.journal.events("finished") == []


def test_quit_kills_without_draining(start_daemon: StartDaemon, database: Database) -> None:
    daemon = start_daemon(database, "hold", "--processes", "2", "--threads", "2", *PATIENT)
    daemon.wait_for("started", 4)
    daemon.signal(signal.SIGQUIT)
    daemon.assert_clean_end(KILLED)
    assert daemon.journal.events("finished") == []


def test_units_that_outlast_the_graceful_timeout_are_killed_and_named_in_one_line(
    start_daemon: StartDaemon, database: Database
) -> None:
    daemon = start_daemon(database, "hold", "--threads", "2", "--graceful-timeout", "0.5")
    daemon.wait_for("started", 2)
    (worker,) = daemon.workers
    daemon.signal(signal.SIGTERM)
    daemon.assert_clean_end(KILLED, timeout=DaemonConfig.graceful_timeout / 2)
    assert daemon.journal.events("finished") == []
    assert len(daemon.log_lines("worker-1", str(worker), "killed")) == 1
    assert "Traceback" not in daemon.err


def test_the_other_workers_drain_while_one_has_to_be_killed(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "hold", "--processes", "2", "--graceful-timeout", "4")
    daemon.wait_for("started", 2)
    one, other = sorted(daemon.workers)
    # Frozen: neither its signal handler nor its units can run.
    freeze(other)
    daemon.signal(signal.SIGTERM)
    daemon.journal.open_gate()
    daemon.assert_clean_end(KILLED)
    assert [event["pid"] for event in daemon.journal.events("finished")] == [one]
    assert daemon.journal.events("worker_died", worker_pid=other, signal="SIGKILL")


def test_each_worker_is_accounted_for_at_the_end(
    start_daemon: StartDaemon, database: Database
) -> None:
    daemon = start_daemon(database, "use_connection", "--processes", "2", "--threads", "2")
    daemon.wait_for_threads("used", 4)
    workers = daemon.workers
    daemon.stop()
    lines = daemon.out.splitlines()
    assert len(lines) == 2
    for pid in workers:
        units = len(daemon.journal.events("used", pid=pid))
        assert any(
            f"(pid {pid}): {units} unit" in line and ", 0 failed, peak of" in line for line in lines
        )
