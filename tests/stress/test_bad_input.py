"""Misuse of a pool gets one clear answer, and harms nobody else.

A server that never answers, and wait_timeout below recycle: test_faults.py. Wrong settings:
tests/unit.
"""

import threading
from typing import Any

import pytest
from django.db import DatabaseError, connections
from django.db import Error as DjangoError
from django.test import override_settings

from pooldaemon import close_pool
from tests.mysql.scratch import Scratch
from tests.stress.conftest import MakeScratch
from tests.stress.load import fetch
from tests.support.poll import wait_until
from tests.unit.databases import AddDatabase
from tests.unit.fakes import Task

pytestmark = pytest.mark.mysql

DEADLINE = 30.0


@pytest.fixture
def scratch(make_scratch: MakeScratch) -> Scratch:
    return make_scratch()


@pytest.fixture
def alias(add_database: AddDatabase, scratch: Scratch) -> str:
    return add_database(
        **scratch.account.settings(OPTIONS={"pool": {"pool_size": 2, "timeout": 5}})
    )


def session(alias: str) -> int:
    return int(fetch(connections[alias], "SELECT CONNECTION_ID()")[0])


def give_back(alias: str) -> None:
    connections[alias].close()


@pytest.mark.parametrize("how", ["one database", "all"])
def test_a_pool_closed_while_in_use_lets_units_finish(
    alias: str, scratch: Scratch, how: str
) -> None:
    first, closed = threading.Event(), threading.Event()

    def unit() -> tuple[int, int]:
        before = session(alias)
        first.set()
        closed.wait(DEADLINE)
        after = session(alias)
        give_back(alias)
        return before, after

    running = Task(unit)
    first.wait(DEADLINE)
    close_pool(alias) if how == "one database" else close_pool()
    new = session(alias)  # a new borrow opens the pool anew, beside what is still out
    assert len(scratch.sessions()) == 2
    closed.set()
    before, after = running.result()
    assert before == after != new
    wait_until(
        lambda: [one.id for one in scratch.sessions()] == [new], DEADLINE, "the old one stays"
    )
    give_back(alias)
    assert session(alias) == new


@pytest.mark.parametrize("by", ["handle", "cursor's connection"])
def test_a_connection_closed_by_hand_is_replaced(alias: str, scratch: Scratch, by: str) -> None:
    closed = session(alias)
    handle: Any = connections[alias].connection
    if by == "cursor's connection":
        handle = handle.cursor().connection
    handle.close()
    with pytest.raises(DjangoError):
        session(alias)
    give_back(alias)
    assert session(alias) != closed
    give_back(alias)
    wait_until(lambda: len(scratch.sessions()) == 1, DEADLINE, "a session is left")


def test_a_connection_of_another_thread_is_refused_by_name(alias: str) -> None:
    connections[alias].ensure_connection()
    connection = connections[alias]

    def use() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    with pytest.raises(DatabaseError, match="created in thread id") as error:
        Task(use).result()
    assert alias in str(error.value)
    with pytest.raises(DatabaseError, match="created in thread id"):
        Task(connection.close).result()
    assert fetch(connection, "SELECT 1") == (1,)


def test_a_connection_that_was_shared_on_purpose_works(alias: str) -> None:
    connections[alias].ensure_connection()
    connection = connections[alias]
    connection.inc_thread_sharing()
    try:
        assert Task(fetch, connection, "SELECT 7").result() == (7,)
    finally:
        connection.dec_thread_sharing()


def test_a_statement_killed_on_the_server_fails_alone(alias: str, scratch: Scratch) -> None:
    number = session(alias)

    def kill() -> None:
        wait_until(
            lambda: any(one.id == number and one.command == "Query" for one in scratch.sessions()),
            DEADLINE,
            "it does not run",
        )
        scratch.admin.query(f"KILL QUERY {number}")

    killer = Task(kill)
    with pytest.raises(DjangoError) as error:
        # MySQL's SLEEP() alone answers 1 when it is killed.
        fetch(
            connections[alias],
            "SELECT COUNT(*) FROM information_schema.tables a, information_schema.tables b,"
            " information_schema.columns c WHERE SLEEP(0.01) = 0 AND a.table_name < b.table_name",
        )
    killer.result()
    assert error.value.args[0] == 1317
    assert fetch(connections[alias], "SELECT 1") == (1,)
    give_back(alias)
    assert session(alias) == number, "the session is still good"


def test_settings_of_a_database_changed_in_place_hold_from_the_next_borrow(alias: str) -> None:
    pool: dict[str, Any] = connections[alias].settings_dict["OPTIONS"]["pool"]
    first = session(alias)
    pool["pool_size"] = 7
    give_back(alias)
    assert session(alias) != first
    assert connections[alias].pool.stats().cap == 7  # type: ignore[attr-defined]


def test_historic_settings_changed_with_override_settings_hold_from_the_next_borrow(
    add_database: AddDatabase, scratch: Scratch
) -> None:
    alias = add_database(**scratch.account.settings())
    session(alias)
    give_back(alias)
    with override_settings(MYSQLPOOL_ARGUMENTS={"pool_size": 3, "max_overflow": 1}):
        session(alias)
        assert connections[alias].pool.stats().cap == 4  # type: ignore[attr-defined]
        give_back(alias)
    session(alias)
    assert connections[alias].pool.stats().cap == 10  # type: ignore[attr-defined]


def test_the_time_zone_changed_with_override_settings_holds_for_the_next_borrower(
    alias: str,
) -> None:
    session(alias)
    give_back(alias)
    with override_settings(TIME_ZONE="Asia/Tokyo", USE_TZ=False):
        assert str(connections[alias].timezone_name) == "Asia/Tokyo"
        assert fetch(connections[alias], "SELECT 1") == (1,)
        give_back(alias)
