"""What a unit of work may do wrong, and what it must not take with it."""

import itertools
import math

import pytest

from pooldaemon.workers.worker.thread import PAUSES
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.databases import Database, MySQLDatabase, SQLiteDatabase


@pytest.mark.parametrize("unit", ["raise_in_atomic", "raise_in_open_transaction"])
def test_a_unit_that_raises_is_logged_with_its_traceback_and_rolled_back(
    start_daemon: StartDaemon, database: Database, unit: str
) -> None:
    database.query("CREATE TABLE entry (number INTEGER)")
    daemon = start_daemon(database, unit)
    daemon.wait_for("failing", 2)
    daemon.stop()
    assert "Traceback" in daemon.err
    assert f"in {unit}" in daemon.err
    assert "LookupError: the unit's own mistake" in daemon.err
    assert daemon.log_lines("worker-1/thread-1", "failed")
    assert database.query("SELECT * FROM entry") == []


def test_a_unit_that_raises_gives_its_connection_back(
    start_daemon: StartDaemon, database: Database
) -> None:
    database.query("CREATE TABLE entry (number INTEGER)")
    daemon = start_daemon(database, "fail_once", "--threads", "4", "--max-connections", "1")
    daemon.wait_for_threads("asked", 4)
    daemon.stop()
    assert "peak of 1 connection" in daemon.out
    assert database.query("SELECT * FROM entry") == []


def test_failures_are_counted_in_the_account_of_the_worker(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    sqlite.query("CREATE TABLE entry (number INTEGER)")
    daemon = start_daemon(sqlite, "raise_in_atomic")
    daemon.wait_for("failing", 3)
    daemon.stop()
    failures = len(daemon.journal.events("failing"))
    assert f"{failures} units, {failures} failed" in daemon.out


def test_a_unit_that_raises_every_time_backs_off(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    sqlite.query("CREATE TABLE entry (number INTEGER)")
    first, _ = PAUSES
    daemon = start_daemon(sqlite, "raise_in_atomic")
    calls = daemon.wait_for("failing", 7)
    gaps = [after["time"] - before["time"] for before, after in itertools.pairwise(calls)]
    # Doubling, and shortened by half at most.
    assert all(gap >= first * 2**n / 2 for n, gap in enumerate(gaps)), gaps
    daemon.stop()
    lasted = daemon.journal.events("failing")[-1]["time"] - calls[0]["time"]
    assert len(daemon.journal.events("failing")) <= math.log2(2 * lasted / first + 1) + 1


@pytest.mark.parametrize("unit", ["exit_process", "cancel", "interrupt"])
def test_a_unit_that_raises_no_ordinary_exception_costs_neither_thread_nor_worker(
    start_work: StartDaemon, sqlite: SQLiteDatabase, unit: str
) -> None:
    daemon = start_work(sqlite, unit)
    daemon.wait_for("failing", 3)
    assert daemon.journal.events("worker_died") == []
    assert len({event["pid"] for event in daemon.journal.events("failing")}) == 1
    daemon.stop()
    assert len(daemon.log_lines("worker-1/thread-1", "a unit of work failed")) >= 3
    assert "Traceback" in daemon.err


def test_a_unit_that_fails_waits_no_longer_than_the_drain(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    sqlite.query("CREATE TABLE entry (number INTEGER)")
    daemon = start_daemon(sqlite, "raise_in_atomic")
    daemon.wait_for("failing", 8)  # the next one is seconds away
    daemon.stop()
    assert len(daemon.journal.events("failing")) == 8


@pytest.mark.mysql
def test_a_unit_that_lost_in_a_deadlock_is_tried_again_if_the_command_says_so(
    start_daemon: StartDaemon, mysql: MySQLDatabase
) -> None:
    mysql.query("CREATE TABLE entry (number INTEGER PRIMARY KEY, times INTEGER) ENGINE=InnoDB")
    mysql.query("INSERT INTO entry VALUES (1, 0), (2, 0)")
    daemon = start_daemon(mysql, "update_both_rows", "--threads", "2", "--retries", "3")
    daemon.wait_for("updated", 2)
    assert mysql.query("SELECT number, times FROM entry ORDER BY number") == [(1, 2), (2, 2)]
    assert daemon.log_lines("retrying a unit of work after", "1213")
    assert not daemon.log_lines("a unit of work failed")
    daemon.stop()
    assert "2 units, 0 failed" in daemon.out
