"""Pooled databases on a real server."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.mysql.scratch import Account, Scratch, scratch_on
from tests.support.mode import default_mode
from tests.support.server import Admin, Server
from tests.unit.databases import AddDatabase, own_databases

StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def session_scratch() -> Iterator[Scratch]:
    url = os.environ["DATABASE_URL"]
    with Admin(url) as admin, scratch_on(admin, url) as scratch:
        admin.query(f"CREATE TABLE {scratch.account.name}.t (n INT) ENGINE=InnoDB")
        yield scratch


@pytest.fixture
def scratch(session_scratch: Scratch) -> Scratch:
    session_scratch.admin.query(f"DELETE FROM {session_scratch.account.name}.t")
    return session_scratch


@pytest.fixture
def add_database(django_db_blocker: DjangoDbBlocker) -> Iterator[AddDatabase]:
    with django_db_blocker.unblock(), own_databases() as add:
        yield add


@pytest.fixture
def add_pooled(add_database: AddDatabase, scratch: Scratch) -> AddDatabase:
    """Add the scratch database: `add_pooled({"init_command": "…"}, pool_size=1)`."""

    def add(
        options: dict[str, Any] | None = None, *, to: Account | None = None, **pool: Any
    ) -> str:
        account = to or scratch.account
        pool.setdefault("mode", default_mode(pool))
        return add_database(**account.settings(OPTIONS={**(options or {}), "pool": pool}))

    return add


@pytest.fixture
def alias(add_pooled: AddDatabase) -> str:
    """One connection, shared by all who use this database."""
    return add_pooled(pool_size=1, timeout=5)
