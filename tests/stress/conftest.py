"""Accounts with limits, on the server of DATABASE_URL or one of the test's own."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.mysql.scratch import Scratch, scratch_on
from tests.support.server import Admin, Server
from tests.unit.databases import AddDatabase, own_databases

COLUMNS = "(id INT AUTO_INCREMENT PRIMARY KEY, token BIGINT, KEY (token)) ENGINE=InnoDB"

MakeScratch = Callable[..., Scratch]


@pytest.fixture
def add_database(django_db_blocker: DjangoDbBlocker) -> Iterator[AddDatabase]:
    with django_db_blocker.unblock(), own_databases() as add:
        yield add


@pytest.fixture
def make_scratch() -> Iterator[MakeScratch]:
    """A database and an account: `make_scratch(server.url, limits="WITH …")`."""
    with ExitStack() as stack:

        def make(url: str = "", limits: str = "") -> Scratch:
            url = url or os.environ["DATABASE_URL"]
            admin = stack.enter_context(Admin(url))
            scratch = stack.enter_context(scratch_on(admin, url, limits))
            admin.query(f"CREATE TABLE {scratch.account.name}.t {COLUMNS}")
            return scratch

        yield make


@pytest.fixture
def on_server(
    add_database: AddDatabase, start_server: Callable[..., Server]
) -> Callable[..., tuple[Server, str]]:
    """A server of the test's own and a pooled database there, for an account of few rights."""

    def start(options: dict[str, Any] | None = None, **pool: Any) -> tuple[Server, str]:
        # With 0 the limit could not be changed while the server runs.
        server = start_server("--max-user-connections=1000")
        for statement in (
            f"CREATE TABLE pool.t {COLUMNS}",
            "CREATE USER stress@'%' IDENTIFIED BY 'stress'",
            "GRANT ALL ON pool.* TO stress@'%'",
        ):
            server.admin.query(statement)
        alias = add_database(
            ENGINE="pooldaemon.backends.mysql",
            NAME="pool",
            USER="stress",
            PASSWORD="stress",
            HOST="127.0.0.1",
            PORT=str(server.port),
            OPTIONS={**(options or {}), "pool": pool},
        )
        return server, alias

    return start
