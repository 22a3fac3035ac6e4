"""Connections of the whole daemon, and what the server allows."""

import signal

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import MySQLDatabase, SQLiteDatabase
from tests.lifecycle.test_bad_input import complaint
from tests.support.poll import wait_until

WIDE = ("--threads", "8", "--processes", "1")


@pytest.mark.mysql
def test_the_total_holds_while_workers_are_added(
    start_work: StartDaemon, mysql: MySQLDatabase
) -> None:
    daemon = start_work(mysql, "use_connection", *WIDE, "--total-connections", "7")
    daemon.wait_for_threads("used", 8)
    assert len(mysql.sessions()) <= 6
    most = 0

    def all_born(number: int) -> bool:
        nonlocal most
        most = max(most, len(mysql.sessions()))
        return len(daemon.journal.events("worker_init")) >= number

    # The first one makes room for two, and these for three.
    for born in (3, 6):
        daemon.signal(signal.SIGTTIN)
        wait_until(lambda number=born: all_born(number), TIMEOUT, "too few workers")
        assert most <= 7
    daemon.stop()
    assert {event["status"] for event in daemon.journal.events("worker_died")} == {0}


@pytest.mark.parametrize("processes", ["5", "100"])
def test_a_total_that_is_not_enough_is_named_with_what_would_be(
    start_work: StartDaemon, sqlite: SQLiteDatabase, processes: str
) -> None:
    options = ("--processes", processes, "--total-connections", "5")
    line = complaint(start_work(sqlite, "idle", *options))
    assert line == (
        f"CommandError: --total-connections is 5; for {processes} worker processes it must be "
        f"{int(processes) + 1} or more: one for each, and one for helper processes."
    )


def test_no_more_workers_than_connections_are_added(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--processes", "2", "--total-connections", "3")
    daemon.wait_for_threads("unit", 2)
    daemon.signal(signal.SIGTTIN)
    daemon.wait_for_log("SIGTTIN: its connections are enough for 2 workers")
    assert len(daemon.workers) == 2
    daemon.stop()


def refusal(daemon: Daemon) -> str:
    return complaint(daemon).removeprefix("CommandError: --strict: ")


@pytest.mark.mysql
def test_the_databases_of_one_server_count_together(
    start_work: StartDaemon, mysql: MySQLDatabase
) -> None:
    mysql.query(f"ALTER USER {mysql.name}@'%' WITH MAX_USER_CONNECTIONS 8")
    databases = {"default": mysql.settings, "replica": mysql.settings | {"TIME_ZONE": "UTC"}}
    options = ("--processes", "2", "--strict", "--max-connections", "3")
    daemon = start_work(mysql, "idle", *options, DATABASES=databases)
    daemon.wait_for("unit")  # it does not use the other one
    daemon.stop()
    options = (*options, "--max-connections", "replica=2")
    assert refusal(start_work(mysql, "idle", *options, DATABASES=databases)) == (
        "default, replica: 2 processes with up to 5 connections each, and 2 for helper processes, "
        "need 12, but the server allows 8 (max_user_connections)"
    )
    daemon = start_work(
        mysql, "idle", *options, DATABASES=databases, POOLDAEMON={"MAX_PROCESS_CONNECTIONS": 3}
    )
    daemon.wait_for("unit")
    daemon.stop()


@pytest.mark.mysql
def test_the_limit_of_a_process_counts_where_it_is_lower(
    start_work: StartDaemon, mysql: MySQLDatabase
) -> None:
    mysql.query(f"ALTER USER {mysql.name}@'%' WITH MAX_USER_CONNECTIONS 8")
    options = ("--processes", "2", "--strict", "--max-connections", "12")
    settings = {"MAX_PROCESS_CONNECTIONS": 10}
    assert refusal(start_work(mysql, "idle", *options, POOLDAEMON=settings)) == (
        "default: 2 processes with up to 10 connections each (MAX_PROCESS_CONNECTIONS), and 1 for "
        "helper processes, need 21, but the server allows 8 (max_user_connections)"
    )


@pytest.mark.mysql
def test_a_server_that_allows_fewer_connections_is_reported_with_the_numbers(
    start_work: StartDaemon, mysql: MySQLDatabase
) -> None:
    mysql.query(f"ALTER USER {mysql.name}@'%' WITH MAX_USER_CONNECTIONS 8")
    numbers = (
        "default: 2 processes with up to 4 connections each, and 1 for helper processes, need 9, "
    )
    numbers += "but the server allows 8 (max_user_connections)"
    options = ("--processes", "2", "--max-connections", "4")
    line = complaint(start_work(mysql, "idle", *options, "--strict"))
    assert line == f"CommandError: --strict: {numbers}"
    daemon = start_work(mysql, "idle", *options)
    daemon.wait_for_threads("unit", 2)
    assert daemon.log_lines(numbers)
    daemon.stop()
