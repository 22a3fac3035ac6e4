"""Daemons that can't start: bounded tries, one clear line, status 3."""

import itertools
import re
from typing import Any, NamedTuple

import pytest

from pooldaemon.workers.supervisor.supervisor import BOOT_ATTEMPTS
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import Daemon
from tests.lifecycle.databases import Database, SQLiteDatabase

BOOT_FAILED = 3
SECRET = "secret-word"
SERVER_DOWN = {"ENGINE": "pooldaemon.backends.mysql", "HOST": "127.0.0.1", "PORT": "9"}
ACCOUNT = {"NAME": "x", "USER": "x", "PASSWORD": SECRET}
MISSING = {"NAME": "missing/file.sqlite3"}
ROUNDED = 0.3  # a delay counts from the beginning of the look in which the death was found


class Case(NamedTuple):
    """:ivar reason: what the last line says."""

    reason: str
    settings: dict[str, Any] = {}
    options: tuple[str, ...] = ()
    database: str = "sqlite"


CASES = {
    "worker_init raises": Case(
        "LookupError: the hook's own mistake", options=("--in-worker_init", "fail")
    ),
    "worker_init leaves": Case("the hook leaves", options=("--in-worker_init", "leave")),
    "no directory": Case("unable to open database file", MISSING),
    "server down": Case("Can't connect to", SERVER_DOWN | ACCOUNT),
}
CASES_ON_SERVER = {
    "wrong password": Case("Access denied", {"PASSWORD": SECRET}, database="mysql"),
    "no database": Case("'no_such_database'", {"NAME": "no_such_database"}, database="mysql"),
}
ON_SERVER = [
    pytest.param(case, id=name, marks=pytest.mark.mysql) for name, case in CASES_ON_SERVER.items()
]


@pytest.mark.parametrize(
    "case", [*(pytest.param(case, id=name) for name, case in CASES.items()), *ON_SERVER]
)
def test_a_daemon_that_cannot_start_gives_up_after_a_few_tries_with_one_clear_line(
    start_work: StartDaemon, request: pytest.FixtureRequest, case: Case
) -> None:
    database: Database = request.getfixturevalue(case.database)
    database.settings.update(case.settings)
    daemon = start_work(database, "idle", "--processes", "4", *case.options)
    daemon.assert_clean_end(BOOT_FAILED)
    # Although four workers are wanted: while none has been ready, one at a time is tried.
    assert len(daemon.journal.events("worker_init")) == BOOT_ATTEMPTS
    (last,) = daemon.log_lines("Giving up")
    assert case.reason in last
    assert "Traceback" not in daemon.err
    assert SECRET not in daemon.err
    assert daemon.journal.events("unit") == []
    assert_further_and_further_apart(daemon)


def assert_further_and_further_apart(daemon: Daemon) -> None:
    delays = [float(delay) for delay in re.findall(r"next attempt in ([\d.]+) s", daemon.err)]
    assert delays == sorted(delays)
    assert delays[-1] >= 2 * delays[0]
    times = [event["time"] for event in daemon.journal.events("worker_init")]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(gap > delay - ROUNDED for gap, delay in zip(gaps, delays, strict=True))


def test_a_detached_daemon_that_cannot_start_exits_with_its_status_and_says_where_to_look(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    sqlite.settings.update(MISSING)
    detach = ("--detach", "--logfile", "log", "--pidfile", "pid")
    daemon = start_work(sqlite, "idle", *detach)
    daemon.assert_clean_end(BOOT_FAILED)
    (message,) = daemon.err.splitlines()
    assert "see log" in message
    log = (daemon.directory / "log").read_text()
    (last,) = [line for line in log.splitlines() if "Giving up" in line]
    assert CASES["no directory"].reason in last
    assert "Traceback" not in log
