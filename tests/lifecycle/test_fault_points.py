"""Daemons that fail in chosen moments, and what becomes of them."""

import signal

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import SQLiteDatabase

CRASHED = 70


def crashed(daemon: Daemon, point: str) -> dict[str, object]:
    daemon.wait_for_fault(point)
    (death,) = daemon.wait_for("worker_died")
    assert (death["status"], death["signal"]) == (CRASHED, None)
    return death


@pytest.mark.parametrize("point", ["before_unit", "after_unit"])
def test_a_worker_that_crashes_around_a_unit_is_replaced(
    start_work: StartDaemon, sqlite: SQLiteDatabase, point: str
) -> None:
    daemon = start_work(sqlite, "idle", faults={point: "crash"})
    death = crashed(daemon, point)
    assert daemon.log_lines("WARNING", "POOLDAEMON_FAULTS is set: a test can make this daemon fail")
    assert daemon.log_lines("WARNING", "worker-1", f"Fault point {point}: crash")
    assert death["was_ready"]
    done = daemon.journal.events("unit", pid=death["worker_pid"])
    assert len(done) == (1 if point == "after_unit" else 0)
    daemon.wait_for("unit", len(done) + 1)
    daemon.stop()


def test_a_worker_that_crashes_while_it_boots_is_reported_as_such_and_tried_again(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", faults={"worker_boot": "crash"})
    assert not crashed(daemon, "worker_boot")["was_ready"]
    daemon.wait_for_log(f"exited with status {CRASHED}, before it was ready; next attempt in ")
    daemon.wait_for("unit")
    daemon.stop()


def test_a_worker_that_crashes_at_its_end_makes_the_drain_fail(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", faults={"worker_exit": "crash"})
    daemon.wait_for("unit")
    daemon.signal(signal.SIGTERM)
    daemon.assert_clean_end(4)
    assert daemon.journal.events("worker_exit") == []


def test_a_unit_that_hangs_around_its_own_code_is_found_by_the_unit_timeout(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--unit-timeout", "0.3", faults={"before_unit": "hang"})
    daemon.wait_for_fault("before_unit")
    daemon.wait_for_log("unit_timeout is")
    daemon.release("before_unit")
    death = daemon.wait_for("worker_died")[0]
    assert (death["status"], death["reason"]) == (0, None)
    daemon.wait_for("unit", 2)
    daemon.stop()


def test_no_worker_outlives_a_supervisor_that_crashes_where_it_forks_the_second_one(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle")
    daemon.wait_for("unit")
    daemon.arm("before_fork", "crash")
    daemon.signal(signal.SIGTTIN)
    assert daemon.process.wait(TIMEOUT) == CRASHED
    daemon.assert_nothing_left()


def test_an_error_where_a_worker_is_forked_is_logged_once_and_the_fork_is_tried_again(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--pidfile", "pid")
    daemon.wait_for("unit")
    (first,) = daemon.workers
    daemon.arm("before_fork", "raise", times=2)
    daemon.signal(signal.SIGTTIN)
    daemon.wait_for_fault("before_fork", 1)
    (trouble,) = daemon.status()["troubles"]
    assert (trouble["what"], trouble["error"]) == ("start workers", "FaultError: before_fork")
    daemon.wait_for("worker_init", 2)
    assert first in daemon.workers
    assert len(daemon.log_lines("can't start workers: FaultError: before_fork")) == 1
    assert len(daemon.log_lines("can start workers again")) == 1
    assert daemon.status()["troubles"] == []
    daemon.stop()


def test_a_supervisor_that_dies_in_a_reload_takes_its_workers_along(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", faults={"hand_over": "crash"})
    daemon.wait_for("unit")
    daemon.signal(signal.SIGHUP)
    assert daemon.process.wait(TIMEOUT) == CRASHED
    daemon.assert_nothing_left()


def test_a_preflight_that_fails_keeps_the_old_workers(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle")
    daemon.wait_for("unit")
    daemon.arm("worker_boot", "raise")
    workers = daemon.workers
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("reload: failed, the old workers stay: FaultError: worker_boot")
    assert daemon.workers == workers
    daemon.stop()


def test_a_daemon_outside_of_a_test_refuses_to_start_with_the_variable(
    start_work: StartDaemon, sqlite: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget_owner(daemon: Daemon) -> None:
        prepare(daemon)
        (daemon.directory / "faults" / "owner").unlink(missing_ok=True)

    prepare = Daemon.prepare
    monkeypatch.setattr(Daemon, "prepare", forget_owner)
    daemon = start_work(sqlite, "idle", "--pidfile", "pid")
    daemon.assert_clean_end(1)
    assert daemon.err.startswith("CommandError: POOLDAEMON_FAULTS is ")
    assert len(daemon.err.splitlines()) == 1
