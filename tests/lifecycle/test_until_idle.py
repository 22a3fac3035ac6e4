"""--until-idle ends when, and only when, no work is left."""

import signal

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.databases import Database, SQLiteDatabase

JOB_TABLE = {
    "sqlite": "CREATE TABLE job (id INTEGER PRIMARY KEY, task VARCHAR(20), taken INTEGER)",
    "mysql": "CREATE TABLE job (id INTEGER PRIMARY KEY AUTO_INCREMENT, task VARCHAR(20),"
    " taken INTEGER) ENGINE=InnoDB",
}


def give_job(database: Database, task: str) -> None:
    database.query(JOB_TABLE["sqlite" if isinstance(database, SQLiteDatabase) else "mysql"])
    database.query(f"INSERT INTO job (task, taken) VALUES ('{task}', 0)")


def test_a_daemon_without_work_ends_with_0(start_daemon: StartDaemon, database: Database) -> None:
    daemon = start_daemon(database, "ask", "--until-idle", "--processes", "2", "--threads", "3")
    daemon.assert_clean_end()
    looked = {(event["pid"], event["thread"]) for event in daemon.journal.events("asked")}
    assert len(looked) == 6
    assert daemon.log_lines("no work is left")


def test_work_that_makes_more_work_is_done_to_the_last(
    start_daemon: StartDaemon, database: Database
) -> None:
    give_job(database, "5")
    options = ("--until-idle", "--processes", "2", "--threads", "3")
    daemon = start_daemon(database, "work_off_tree", *options)
    daemon.assert_clean_end()
    jobs = 2**6 - 1
    assert database.query("SELECT COUNT(*), SUM(taken) FROM job") == [(jobs, jobs)]
    assert len({event["job"] for event in daemon.journal.events("done")}) == jobs
    assert len(daemon.journal.events("done")) == jobs


def test_a_worker_that_finds_nothing_waits_for_what_the_other_is_still_doing(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    give_job(sqlite, "first")
    daemon = start_daemon(sqlite, "work_in_turns", "--until-idle", "--processes", "2")
    daemon.assert_clean_end()
    done = [event["task"] for event in daemon.journal.events("done")]
    assert done == ["first", "second", "third"]


def test_work_that_is_due_later_keeps_the_daemon_from_being_idle(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_daemon(sqlite, "due_later", "--until-idle")
    daemon.assert_clean_end()
    assert len(daemon.journal.events("done")) == 1
    # An idle interval of 0.05 s, and half a second until it was due.
    assert len(daemon.journal.events("look")) <= 12


def test_work_that_is_due_soon_does_not_wait_for_the_idle_interval(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_daemon(sqlite, "due_later", "--until-idle", "--idle-interval", "600")
    daemon.assert_clean_end()
    (done,) = daemon.journal.events("done")
    looks = daemon.journal.events("look")
    assert len(looks) <= 3
    assert done["time"] - looks[0]["time"] >= 0.5


def test_a_failed_unit_is_tried_again_before_the_daemon_is_idle(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    sqlite.query("CREATE TABLE entry (number INTEGER)")
    daemon = start_daemon(sqlite, "fail_once", "--until-idle")
    daemon.assert_clean_end()
    assert len(daemon.journal.events("failing")) == 1
    assert daemon.journal.events("asked")
    assert "1 unit, 1 failed" in daemon.out


def test_one_term_does_not_kill_a_daemon_that_is_ending_by_itself(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--until-idle", "--in-worker_exit", "wait_for_gate")
    daemon.wait_for("worker_exit")
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("SIGTERM")
    daemon.journal.open_gate()
    daemon.assert_clean_end()
