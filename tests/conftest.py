"""What every test can count on: the database, its own servers, and marks by place."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import django
import pytest
from django.db import connections

from tests.support.server import Admin, Server

TESTS = Path(__file__).parent

# Processes that tests start keep byte code, also where the environment forbids it: without it a
# start takes a third longer.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = str(TESTS.parent / ".pytest_cache" / "byte-code")

# A test in such a directory has the mark of the same name.
MARKED_DIRECTORIES = {"lifecycle", "mysql", "packaging"}


def on_mysql() -> bool:
    return connections["default"].vendor == "mysql"


def pytest_report_header() -> str:
    return f"django: {django.__version__}, {connections['default'].settings_dict['ENGINE']}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="needs DATABASE_URL=mysql://user:password@host/name")
    for item in items:
        for directory in MARKED_DIRECTORIES.intersection(item.path.relative_to(TESTS).parts):
            item.add_marker(directory)
        if item.get_closest_marker("mysql") and not on_mysql():
            item.add_marker(skip)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Give SQLite's tests a file: a database in memory would not be pooled."""
    connection = connections["default"]
    if connection.vendor == "sqlite":
        path = tmp_path_factory.mktemp("database") / "test.sqlite3"
        connection.settings_dict["TEST"]["NAME"] = str(path)


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Start a MariaDB of the test's own: `start_server("--max-connections=5")`."""
    with ExitStack() as servers:
        yield lambda *options: servers.enter_context(Server(*options))


@pytest.fixture
def database_admin() -> Iterator[Admin]:
    """A connection to the server of DATABASE_URL beside Django's; for tests marked mysql."""
    with Admin(os.environ["DATABASE_URL"]) as admin:
        yield admin
