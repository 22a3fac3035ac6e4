"""Units that hang, workers that fall silent, crash again and again, or have lived long enough."""

import os
import signal
import time
from itertools import count
from pathlib import Path

import pytest

from pooldaemon.conf import DaemonConfig
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT
from tests.lifecycle.databases import Database, MySQLDatabase, SQLiteDatabase
from tests.support.freeze import freeze
from tests.support.poll import wait_until
from tests.support.promise import assert_within

CRASH_LOOP = 5
STATEMENT = 60.0  # seconds that units ask the server to sleep
LOCKS_GONE = 1.0  # seconds
REPLACED = 0.9  # seconds: less than the shortest delay after a crash


def wait_for_statement(mysql: MySQLDatabase) -> None:
    wait_until(
        lambda: any("SLEEP" in (s.statement or "") for s in mysql.sessions()),
        TIMEOUT,
        "the statement",
    )


def test_a_worker_that_dies_again_and_again_ends_the_daemon_with_the_last_error(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "die", "--crash-limit", "2", "--pidfile", "pid")
    daemon.assert_clean_end(CRASH_LOOP)
    assert len(daemon.journal.events("worker_died", signal="SIGKILL")) == 2
    (last,) = daemon.log_lines("Giving up")
    assert "worker-1 died 2 times" in last
    assert "SIGKILL" in last


def test_the_other_workers_finish_their_units_when_a_crash_loop_ends_the_daemon(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "hold", "--crash-limit", "1", "--processes", "2")
    victim = daemon.wait_for("started", 2)[0]["pid"]
    os.kill(victim, signal.SIGKILL)
    daemon.wait_for_log("Giving up")
    daemon.journal.open_gate()
    daemon.assert_clean_end(CRASH_LOOP)
    assert len(daemon.journal.events("finished")) == 1


@pytest.mark.mysql
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_the_statement_of_a_unit_that_hangs_is_ended_and_the_others_finish(
    start_work: StartDaemon, mysql: MySQLDatabase, mode: str
) -> None:
    mysql.settings["OPTIONS"] = {"pool": {"mode": mode}}
    options = ("--threads", "2", "--unit-timeout", "1")
    daemon = start_work(mysql, "query_for_long_once", *options)
    (hung,) = daemon.wait_for("asking")
    (broken,) = daemon.wait_for("broken off")
    assert 1 <= broken["time"] - hung["time"] < STATEMENT / 2
    assert daemon.log_lines("in query_for_long_once")  # the stack
    (death,) = daemon.wait_for("worker_died", worker_pid=hung["pid"])
    assert (death["status"], death["reason"]) == (0, None)
    daemon.wait_for_log("worker-1: ended the statements of the sessions")
    begun = daemon.journal.events("started", pid=hung["pid"])
    assert 1 <= len(begun) == len(daemon.journal.events("finished", pid=hung["pid"]))
    daemon.wait_for("worker_init", 2)
    assert not daemon.log_lines("another one starts")  # its end was no crash: no delay
    daemon.stop()


def test_a_worker_whose_unit_cannot_be_ended_is_killed_after_the_graceful_timeout(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    options = ("--unit-timeout", "0.3", "--graceful-timeout", "0.5")
    daemon = start_work(sqlite, "hold", *options)
    death = daemon.wait_for("worker_died")[0]
    assert death["signal"] == "SIGKILL"
    assert death["reason"] == "it took too long to drain"
    started = daemon.journal.events("started")[0]
    assert death["time"] - started["time"] < DaemonConfig.graceful_timeout / 2
    assert daemon.log_lines("in wait_for_gate")
    daemon.wait_for("started", 2)
    daemon.signal(signal.SIGQUIT)
    daemon.process.wait(TIMEOUT)
    daemon.assert_nothing_left()


def test_a_worker_in_which_no_python_runs_is_killed_with_its_stacks_shown(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "hold_gil_once", "--heartbeat-timeout", "3")
    daemon.wait_for("holding")
    death = daemon.wait_for("worker_died")[0]
    assert (death["signal"], death["reason"]) == ("SIGABRT", "no heartbeat for 3 s")
    assert daemon.log_lines("in hold_gil_once")
    daemon.wait_for("unit")
    daemon.stop()


def test_a_frozen_worker_is_killed_and_replaced(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--heartbeat-timeout", "3")
    daemon.wait_for("unit")
    (worker,) = daemon.workers
    freeze(worker)
    (death,) = daemon.wait_for("worker_died", worker_pid=worker)
    assert death["reason"] == "no heartbeat for 3 s"
    assert not death["oom"]
    daemon.wait_for("worker_init", 2)
    daemon.stop()


def test_a_worker_that_does_not_get_ready_in_time_is_killed_and_the_reason_logged(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--in-worker_init", "wait_for_gate", "--boot-timeout", "1")
    death = daemon.wait_for("worker_died")[0]
    assert (death["was_ready"], death["reason"]) == (False, "not ready after 1 s")
    daemon.wait_for_log("not ready after 1 s, before it was ready; next attempt in ")
    daemon.journal.open_gate()
    daemon.wait_for("unit")
    daemon.stop()


def test_worker_died_gets_the_last_unit(start_work: StartDaemon, sqlite: SQLiteDatabase) -> None:
    daemon = start_work(sqlite, "hold", "--pidfile", "pid")
    (started,) = daemon.wait_for("started")
    wait_until(lambda: daemon.status()["workers"][0]["busy"], TIMEOUT, "a report of the unit")
    os.kill(started["pid"], signal.SIGKILL)
    (death,) = daemon.wait_for("worker_died")
    assert death["last_unit"].startswith("in worker-1/thread-1 for ")
    assert death["was_ready"]
    daemon.journal.open_gate()
    daemon.stop()


@pytest.mark.mysql
def test_the_row_locks_of_a_worker_that_was_killed_in_a_statement_are_gone_within_a_second(
    start_work: StartDaemon, mysql: MySQLDatabase
) -> None:
    mysql.query("CREATE TABLE entry (number INTEGER PRIMARY KEY) ENGINE=InnoDB")
    mysql.query("INSERT INTO entry VALUES (1)")
    numbers = count(2)

    def locked_for() -> float:
        daemon = start_work(mysql, "lock_and_query_for_long")
        (locked,) = daemon.wait_for("locked")
        wait_for_statement(mysql)
        os.kill(locked["pid"], signal.SIGKILL)
        killed = time.monotonic()
        mysql.query(f"UPDATE entry SET number = {next(numbers)}")
        taken = time.monotonic() - killed
        daemon.wait_for_log("ended the sessions")
        daemon.stop()
        return taken

    assert_within(LOCKS_GONE, locked_for)


@pytest.mark.mysql
@pytest.mark.parametrize("killed_too", ["its workers", "nobody"])
def test_a_new_start_ends_what_a_daemon_left_that_was_killed(
    start_work: StartDaemon, mysql: MySQLDatabase, tmp_path: Path, killed_too: str
) -> None:
    mysql.query("CREATE TABLE entry (number INTEGER PRIMARY KEY) ENGINE=InnoDB")
    mysql.query("INSERT INTO entry VALUES (1)")
    pidfile = tmp_path / "daemon.pid"
    killed = start_work(mysql, "lock_and_query_for_long", f"--pidfile={pidfile}")
    killed.wait_for("locked")
    wait_for_statement(mysql)
    noted = pidfile.with_name("daemon.pid.sessions")
    wait_until(noted.exists, TIMEOUT, "the session written down")
    workers = killed.workers if killed_too == "its workers" else ()
    for pid in (killed.process.pid, *workers):
        os.kill(pid, signal.SIGKILL)
    killed.process.wait()
    daemon = start_work(mysql, "idle", f"--pidfile={pidfile}")
    daemon.wait_for_log("the last daemon: ended the sessions")
    mysql.query("UPDATE entry SET number = 2")  # it is locked no more
    daemon.wait_for("unit")
    daemon.stop()
    killed.assert_nothing_left()
    assert not noted.exists()


@pytest.mark.parametrize(
    ("unit", "limit", "reason"),
    [
        ("use_connection", ("--max-units", "3"), "units done"),
        ("grow", ("--max-rss", "100"), "MiB of memory in use"),
        ("use_connection", ("--max-age", "1"), "s old"),
    ],
    ids=["units", "memory", "age"],
)
def test_a_worker_that_has_lived_long_enough_is_replaced_at_once_and_loses_no_unit(
    start_work: StartDaemon, database: Database, unit: str, limit: tuple[str, str], reason: str
) -> None:
    daemon = start_work(database, unit, "--idle-interval", "0.2", *limit)
    first = daemon.wait_for("worker_init")[0]["pid"]
    replacements = count(1)

    def replaced_after() -> float:
        number = next(replacements)
        birth = daemon.wait_for("worker_init", number + 1)[number]
        assert birth["worker"] == "worker-1"
        death = daemon.journal.events("worker_died")[number - 1]
        assert (death["status"], death["reason"]) == (0, None)
        taken: float = birth["time"] - death["time"]
        return taken

    assert_within(REPLACED, replaced_after)
    assert daemon.log_lines(f"worker-1 (pid {first}) drains and will be replaced:", reason)
    assert daemon.journal.events("worker_exit", worker_pid=first)
    daemon.stop()
