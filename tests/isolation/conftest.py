"""Databases to leave things behind in, on the server of DATABASE_URL."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from MySQLdb import Error as DriverError
from pytest_django import DjangoDbBlocker

from tests.isolation.borrowing import Pooled
from tests.isolation.state import State, observe
from tests.mysql.scratch import Scratch, scratch_on
from tests.support.behind_router import REASON, SHARING, refusal
from tests.support.mode import default_mode
from tests.support.server import Admin
from tests.unit.databases import own_databases

ROWS = 17  # an unusual number: FOUND_ROWS() shows whose SELECT was last

OpenPool = Callable[..., Pooled]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    reason = refusal(call.excinfo.value if call.excinfo else None)
    if report.failed and reason is not None:
        report.outcome, report.wasxfail = "skipped", reason
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if SHARING:
        expected = terminalreporter.stats.get("xfailed", [])
        refused = sum(report.wasxfail.startswith(REASON) for report in expected)
        terminalreporter.write_line(f"{REASON} in {refused} tests.")


def prepare(scratch: Scratch) -> None:
    """Tables, and the rights to leave behind everything that can be, and to see it."""
    admin, name = scratch.admin, scratch.account.name
    for statement in (
        f"CREATE TABLE {name}.t (a INT, b VARCHAR(200)) ENGINE=InnoDB",
        f"INSERT INTO {name}.t (a) VALUES {', '.join(f'({n})' for n in range(ROWS))}",
        f"CREATE TABLE {name}.numbers (id INT AUTO_INCREMENT PRIMARY KEY, a INT) ENGINE=InnoDB",
        f"CREATE TABLE {name}.seventeen SELECT a FROM {name}.t",
        f"CREATE TABLE {name}.fuzzed (a INT, b VARCHAR(200)) ENGINE=InnoDB",
        f"CREATE TABLE {name}.unlocked (a INT) ENGINE=InnoDB",
        f"GRANT PROCESS ON *.* TO '{name}'@'%'",
        f"GRANT SELECT ON performance_schema.* TO '{name}'@'%'",
        f"CREATE ROLE {name}_role",
        f"GRANT {name}_role TO '{name}'@'%'",
    ):
        admin.query(statement)
    if not is_mariadb(admin):
        admin.query(f"CREATE RESOURCE GROUP {name}_group TYPE = USER")
        admin.query(f"GRANT RESOURCE_GROUP_USER ON *.* TO '{name}'@'%'")


def clean_up(scratch: Scratch) -> None:
    name = scratch.account.name
    scratch.admin.query(f"DROP ROLE IF EXISTS {name}_role")
    if not is_mariadb(scratch.admin):
        with suppress(DriverError):  # it was not made, and there is no IF EXISTS
            scratch.admin.query(f"DROP RESOURCE GROUP {name}_group FORCE")


def is_mariadb(admin: Admin) -> bool:
    return "mariadb" in str(admin.query("SELECT VERSION() AS v")[0]["v"]).lower()


def prepared_scratch() -> Iterator[Scratch]:
    url = os.environ["DATABASE_URL"]
    with Admin(url) as admin, scratch_on(admin, url) as scratch:
        try:
            prepare(scratch)
            yield scratch
        finally:
            clean_up(scratch)


@pytest.fixture(scope="session")
def plain() -> Iterator[Scratch]:
    """A schema in which the text of a statement is all there is to it."""
    yield from prepared_scratch()


@pytest.fixture(scope="session")
def hidden() -> Iterator[Scratch]:
    """A schema in which statements do more than they say, once a test has put something there."""
    yield from prepared_scratch()


@pytest.fixture(scope="session")
def mariadb(plain: Scratch) -> bool:
    return is_mariadb(plain.admin)


@pytest.fixture
def open_pool(django_db_blocker: DjangoDbBlocker, plain: Scratch) -> Iterator[OpenPool]:
    """A pool of one connection: `open_pool(reset="always")`, of `scratch`'s database."""
    with django_db_blocker.unblock(), own_databases() as add:

        def open_(
            options: dict[str, Any] | None = None, *, scratch: Scratch = plain, **pool: Any
        ) -> Pooled:
            pool = {"pool_size": 1, "timeout": 10, "mode": default_mode(pool), **pool}
            settings = {**(options or {}), "pool": pool}
            return Pooled(add(**scratch.account.settings(OPTIONS=settings)))

        yield open_


@pytest.fixture
def pristine(open_pool: OpenPool, mariadb: bool) -> State:
    """What a borrower sees on a session that nobody has used."""
    with open_pool(ping_after=29).borrowed() as connection:
        return observe(connection, mariadb=mariadb)
