"""Databases without a server: files of SQLite, pooled."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from pooldaemon import use_database
from tests.unit.databases import AddDatabase, own_databases


@pytest.fixture
def add_database(django_db_blocker: DjangoDbBlocker) -> Iterator[AddDatabase]:
    with django_db_blocker.unblock(), own_databases() as add:
        yield add


@pytest.fixture
def add_sqlite(add_database: AddDatabase, tmp_path: Path) -> AddDatabase:
    """Add a database in a file of the test's own: `add_sqlite(pool_size=1)`."""

    def add(name: str = "unit.sqlite3", **pool: object) -> str:
        return add_database(
            ENGINE="pooldaemon.backends.sqlite3",
            NAME=str(tmp_path / name),
            OPTIONS={"pool": {"timeout": 0, **pool}},
        )

    return add


@pytest.fixture
def alias(add_sqlite: AddDatabase) -> str:
    return add_sqlite()


@pytest.fixture
def tenants(alias: str, tmp_path: Path) -> list[str]:
    """Names of databases; each knows its own."""
    names = [connections[alias].settings_dict["NAME"], *(str(tmp_path / f"t{n}") for n in (1, 2))]
    for name in names:
        with use_database(alias, NAME=name), connections[alias].cursor() as cursor:
            cursor.execute("CREATE TABLE here (name TEXT)")
            cursor.execute("INSERT INTO here VALUES (%s)", [name])
    return names
