"""When the hooks run, where, and what becomes of one that raises."""

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.databases import SQLiteDatabase


def test_hooks_run_in_order_in_the_process_they_belong_to(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--processes", "2", "--until-idle")
    daemon.assert_clean_end()
    notes = daemon.journal
    (setup,) = notes.events("setup")
    supervisor = daemon.process.pid
    assert setup["pid"] == supervisor
    for name in ("worker-1", "worker-2"):
        (init,) = notes.events("worker_init", worker=name)
        (left,) = notes.events("worker_exit", worker=name)
        (died,) = notes.events("worker_died", worker=name)
        units = notes.events("unit", pid=init["pid"])
        assert units
        order = [setup, init, *units, left, died]
        assert order == sorted(order, key=lambda event: event["time"])
        assert init["pid"] == left["pid"] == init["worker_pid"] == left["worker_pid"]
        assert died["pid"] == supervisor
        assert died["worker_pid"] == init["pid"] != supervisor
        assert (died["status"], died["signal"], died["error"]) == (0, None, None)


def test_what_the_supervisor_has_loaded_is_kept_from_the_workers_collector(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    options = ("--until-idle", "--in-worker_init", "report_frozen")
    daemon = start_work(sqlite, "idle", *options)
    (event,) = daemon.wait_for("frozen")
    assert event["objects"] > 10_000
    daemon.assert_clean_end()


@pytest.mark.parametrize("hook", ["worker_exit", "worker_died"])
@pytest.mark.parametrize(
    ("deed", "error"),
    [("fail", "LookupError: the hook's own mistake"), ("leave", "SystemExit: the hook leaves")],
)
def test_a_hook_that_raises_at_the_end_is_logged_and_stops_nothing(
    start_work: StartDaemon, sqlite: SQLiteDatabase, hook: str, deed: str, error: str
) -> None:
    daemon = start_work(sqlite, "idle", "--until-idle", f"--in-{hook}", deed)
    daemon.assert_clean_end()
    assert daemon.log_lines(hook, "failed")
    assert error in daemon.err


@pytest.mark.parametrize(
    ("deed", "error"),
    [("fail", "LookupError: the hook's own mistake"), ("leave", "the hook leaves")],
)
def test_a_setup_that_raises_ends_the_daemon_before_any_worker(
    start_work: StartDaemon, sqlite: SQLiteDatabase, deed: str, error: str
) -> None:
    daemon = start_work(sqlite, "idle", "--pidfile", "pid", "--in-setup", deed)
    daemon.assert_clean_end(1)
    assert error in daemon.err
    assert daemon.journal.events("worker_init") == []


def test_worker_died_gets_the_reason_why_a_worker_could_not_start(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--in-worker_init", "fail")
    died = daemon.wait_for("worker_died")[0]
    assert died["error"] == "LookupError: the hook's own mistake"
    assert died["status"] == 3
    daemon.stop()
