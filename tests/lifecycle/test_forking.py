"""No session of the supervisor reaches a worker."""

import os
import signal

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.databases import Database, MySQLDatabase, SQLiteDatabase

REPORT = ("--in-worker_init", "report_sessions")


def test_a_session_opened_by_setup_is_closed_before_the_workers_are_forked(
    start_work: StartDaemon, database: Database
) -> None:
    daemon = start_work(database, "ask", "--processes", "2", "--in-setup", "connect", *REPORT)
    daemon.wait_for_threads("asked", 2)
    daemon.stop()
    (connected,) = daemon.journal.events("connected")
    assert connected["pid"] == daemon.process.pid
    assert connected["sessions"]
    assert [event["sessions"] for event in daemon.journal.events("inherited")] == [[], []]


def test_a_session_opened_by_worker_died_is_closed_before_the_replacement_is_forked(
    start_work: StartDaemon, database: Database
) -> None:
    daemon = start_work(database, "ask", "--in-worker_died", "connect", *REPORT)
    daemon.wait_for("asked")
    (worker,) = daemon.workers
    os.kill(worker, signal.SIGKILL)
    daemon.wait_for("inherited", 2)
    (connected,) = daemon.journal.events("connected")
    assert connected["pid"] == daemon.process.pid
    assert connected["sessions"]
    assert [event["sessions"] for event in daemon.journal.events("inherited")] == [[], []]
    daemon.wait_for_threads("asked", 2)
    daemon.stop()


@pytest.mark.mysql  # SQLite has no socket; its file stays open in the worker, never to be used
def test_a_session_that_setup_left_inside_atomic_is_not_inherited_either(
    start_work: StartDaemon, mysql: MySQLDatabase
) -> None:
    daemon = start_work(mysql, "ask", "--in-setup", "connect_in_open_atomic", *REPORT)
    daemon.wait_for("asked")
    daemon.stop()
    assert daemon.journal.events("connected")[0]["sessions"]
    assert [event["sessions"] for event in daemon.journal.events("inherited")] == [[]]


def test_a_thread_left_by_setup_is_named_in_a_warning(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--in-setup", "start_thread")
    daemon.wait_for("unit")
    daemon.stop()
    assert daemon.log_lines("WARNING", "stray-helper")


def test_without_stray_threads_there_is_no_warning(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--in-setup", "connect")
    daemon.wait_for("unit")
    daemon.stop()
    assert daemon.log_lines("WARNING", "threads") == []


@pytest.mark.mysql
def test_what_one_worker_was_answered_about_hidden_code_the_next_ones_do_not_ask(
    start_daemon: StartDaemon, mysql: MySQLDatabase
) -> None:
    # The second worker is forked when the first one is ready.
    daemon = start_daemon(mysql, "tell_when_asked", "--processes", "2")
    daemon.wait_for_threads("believes", 2)
    os.kill(min(daemon.workers), signal.SIGKILL)
    daemon.wait_for_threads("believes", 3)
    assert len({event["asked"] for event in daemon.journal.events("believes")}) == 1
    daemon.stop()
