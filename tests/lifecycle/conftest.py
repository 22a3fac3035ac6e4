"""Daemons, and the databases they run on."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.daemon import UNITS, Daemon
from tests.lifecycle.databases import Database, MySQLDatabase, SQLiteDatabase
from tests.support.server import Admin, Server

StartDaemon = Callable[..., Daemon]


@pytest.fixture
def sqlite(tmp_path: Path) -> SQLiteDatabase:
    return SQLiteDatabase(tmp_path / "daemon.sqlite3")


@pytest.fixture
def mysql() -> Iterator[MySQLDatabase]:
    """A database on the server of DATABASE_URL; for tests marked mysql."""
    url = os.environ["DATABASE_URL"]
    with Admin(url) as admin:
        database = MySQLDatabase(url, lambda: admin)
        yield database
        database.remove()


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """A server of the test's own."""
    return start_server()


@pytest.fixture
def on_server(server: Server) -> MySQLDatabase:
    """A database on the test's own server."""
    return MySQLDatabase(server.url, lambda: server.admin)


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.sqlite),
        pytest.param("mysql", marks=pytest.mark.mysql),
    ]
)
def database(request: pytest.FixtureRequest) -> Database:
    """SQLite always, and the server of DATABASE_URL where there is one."""
    chosen: Database = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def start_command(tmp_path: Path) -> Iterator[StartDaemon]:
    """Start `start_command(database, "work", "idle", "--threads", "1", POOLDAEMON={…})`.

    `faults={"before_unit": "crash"}` says what is to happen at a fault point.
    """
    numbers = itertools.count(1)
    with ExitStack() as daemons:

        def start(
            database: Database,
            *arguments: str,
            faults: Mapping[str, str] | None = None,
            **settings: Any,
        ) -> Daemon:
            directory = tmp_path / f"daemon-{next(numbers)}"
            daemon = Daemon(directory, database, arguments, **settings)
            daemon.prepare()
            for point, action in (faults or {}).items():
                daemon.arm(point, action)
            return daemons.enter_context(daemon)

        yield start


@pytest.fixture
def start_daemon(start_command: StartDaemon) -> StartDaemon:
    """Start rundaemon with a unit of the project: `start_daemon(database, "idle")`.

    One thread that looks often, unless the options say otherwise.
    """

    def start(database: Database, unit: str, *options: str, **settings: Any) -> Daemon:
        quick = ("--threads", "1", "--idle-interval", "0.05")
        return start_command(database, "rundaemon", f"{UNITS}.{unit}", *quick, *options, **settings)

    return start


@pytest.fixture
def start_work(start_command: StartDaemon) -> StartDaemon:
    """The same with the command `work`, whose hooks note that they run."""

    def start(database: Database, unit: str, *options: str, **settings: Any) -> Daemon:
        quick = ("--threads", "1", "--idle-interval", "0.05")
        return start_command(database, "work", unit, *quick, *options, **settings)

    return start
