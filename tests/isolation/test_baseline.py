"""What a reset session comes back to: the state that was configured, whatever its spelling."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db.backends.signals import connection_created

from tests.isolation.borrowing import Pooled
from tests.isolation.conftest import OpenPool
from tests.isolation.state import State, differences, observe

pytestmark = pytest.mark.mysql


@contextmanager
def receiver(statements: list[str]) -> Iterator[None]:
    def receive(connection: Any, **_: Any) -> None:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    connection_created.connect(receive)
    try:
        yield
    finally:
        connection_created.disconnect(receive)


def assert_a_reset_changes_nothing(pool: Pooled, *, mariadb: bool) -> None:
    with pool.borrowed() as connection:
        first = observe(connection, mariadb=mariadb)
    for _ in range(2):
        with pool.borrowed() as connection:
            assert differences(first, observe(connection, mariadb=mariadb)) == {}
    assert pool.stats.resets == 3
    assert pool.stats.connects == 1, "it was replaced, not reset"


SPELLINGS = [
    "SET @a = 1",
    "SET @a = 1;",
    "SET @a = 1; ",
    "SET @a = 1 -- a comment",
    "SET @a = 1 # a comment",
    "SET @a = 1 /* a comment */",
    "SET @a = 1; SET @b = 'ü;'",
    "SET @a = 1, SESSION wait_timeout = 999",
    "SET SESSION sql_mode = 'ANSI_QUOTES'",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SET time_zone = '+03:00' -- for reports; see the manual",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_init_command_holds_after_a_reset_and_hides_nothing_else(
    open_pool: OpenPool, mariadb: bool, spelling: str
) -> None:
    pool = open_pool({"init_command": spelling, "isolation_level": "serializable"})
    assert_a_reset_changes_nothing(pool, mariadb=mariadb)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_receivers_statement_holds_after_a_reset_and_hides_nothing_else(
    open_pool: OpenPool, mariadb: bool, spelling: str
) -> None:
    pool = open_pool({"isolation_level": "serializable"})
    with receiver([spelling, "SET @last = 1"]):
        assert_a_reset_changes_nothing(pool, mariadb=mariadb)


@pytest.mark.parametrize(
    "options",
    [
        {"charset": "latin1"},
        {"charset": "utf8mb4", "collation": "utf8mb4_bin"},
        {"sql_mode": "STRICT_ALL_TABLES,ANSI_QUOTES"},
        {"sql_mode": ""},
        {"isolation_level": "repeatable read"},
        {"isolation_level": None},
        {"autocommit": False},
        {"client_flag": 2},
    ],
    ids=str,
)
def test_options_hold_after_a_reset(
    open_pool: OpenPool, mariadb: bool, options: dict[str, Any]
) -> None:
    pool = open_pool(options)
    with pool.borrowed() as connection:
        first = observe(connection, mariadb=mariadb)
    for _ in range(2):
        with pool.borrowed() as connection:
            assert differences(first, observe(connection, mariadb=mariadb)) == {}
    assert pool.stats.connects == 1


def test_two_pools_of_one_server_keep_their_own_state(
    open_pool: OpenPool, pristine: State, mariadb: bool
) -> None:
    strange = open_pool({"init_command": "SET @leak = 1"})
    usual = open_pool()
    for _ in range(2):
        assert strange.fetch("SELECT @leak") == 1
        with usual.borrowed() as connection:
            assert differences(pristine, observe(connection, mariadb=mariadb)) == {}
