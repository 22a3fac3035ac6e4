"""Statements that become unclean on the way: by their parameters, or by what runs meanwhile."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils.functional import lazy

from tests.isolation.borrowing import Pooled
from tests.isolation.conftest import OpenPool
from tests.isolation.state import State, differences, observe
from tests.support.mode import session_mode_only

pytestmark = pytest.mark.mysql


@pytest.fixture
def pool(open_pool: OpenPool) -> Pooled:
    return open_pool()


def assert_pristine(pool: Pooled, pristine: State, *, mariadb: bool) -> None:
    with pool.borrowed() as connection:
        assert differences(pristine, observe(connection, mariadb=mariadb)) == {}


WRITTEN_BY_PARAMETERS: dict[str, tuple[str, Any]] = {
    "arguments of a call": ("SELECT GET_LOCK%s", [("leak", 0)]),
    "arguments of a call, apart": ("SELECT GET_LOCK %s", [("leak", 0)]),
    "arguments on a new line": ("SELECT GET_LOCK\n%s", [("leak", 0)]),
    "arguments by name": ("SELECT GET_LOCK%(lock)s", {"lock": ("leak", 0)}),
    "arguments as a list": ("SELECT GET_LOCK%s", [["leak", 0]]),
    "arguments of a quoted name": ("SELECT `GET_LOCK`%s", [("leak", 0)]),
    "one argument of several": ("DELETE FROM t WHERE GET_LOCK%s = 7 AND a < %s", [("leak", 0), 99]),
    "placeholder in quotes": ("SELECT CONCAT('%s', 1)", [", GET_LOCK(0x6c65616b, 0), "]),
    "placeholder in double quotes": ('SELECT CONCAT("%s", 1)', ['", GET_LOCK(0x6c65616b, 0), "']),
    "placeholder at the end of a literal": (
        "SELECT CONCAT('a%s', 1)",
        [", GET_LOCK(0x6c65616b, 0), "],
    ),
    "placeholder in the middle of a literal": (
        "SELECT CONCAT('a%sb', 1)",
        [", GET_LOCK(0x6c65616b, 0), "],
    ),
    "cut placeholder": ("SELECT CONCAT(%.2s', %s, '')", ["x", ", GET_LOCK(0x6c65616b, 0), "]),
    "bytes": (b"SELECT GET_LOCK%s".decode(), [("leak", 0)]),
}


@pytest.mark.parametrize("kind", WRITTEN_BY_PARAMETERS)
def test_what_the_parameters_wrote_is_judged_too(
    pool: Pooled, pristine: State, mariadb: bool, kind: str
) -> None:
    sql, parameters = WRITTEN_BY_PARAMETERS[kind]
    with suppress(DatabaseError):  # not every server takes each of them
        pool.run(sql, parameters)
    assert_pristine(pool, pristine, mariadb=mariadb)


def test_executemany_judges_what_the_parameters_wrote(
    pool: Pooled, pristine: State, mariadb: bool
) -> None:
    with pool.borrowed() as connection, connection.cursor() as cursor:
        cursor.executemany("UPDATE t SET a = 1 WHERE a = GET_LOCK%s", [[("leak", 0)]])
    assert_pristine(pool, pristine, mariadb=mariadb)


NESTED = {
    "lock": "SELECT GET_LOCK('leak', 0)",
    "variable": "SET @leak = 1",
    "database": "USE information_schema",
}


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO numbers (a) VALUES (%s)",
        "UPDATE t SET a = %s WHERE a = 99",
    ],
    ids=["INSERT", "UPDATE"],
)
def test_rows_made_on_the_way_may_run_statements_of_their_own(
    pool: Pooled, pristine: State, mariadb: bool, sql: str, kind: str
) -> None:
    if kind == "database":
        database = pool.fetch("SELECT DATABASE()")
        sql = sql.replace("numbers", f"{database}.numbers").replace(" t ", f" {database}.t ")

    with pool.borrowed() as connection:

        def rows() -> Iterator[tuple[int]]:
            for number in range(3):
                with connection.cursor() as other:
                    other.execute(NESTED[kind])
                yield (number,)

        with connection.cursor() as cursor:
            cursor.executemany(sql, rows())
    assert_pristine(pool, pristine, mariadb=mariadb)


def test_rows_made_on_the_way_may_use_the_drivers_handle(
    pool: Pooled, pristine: State, mariadb: bool
) -> None:
    with pool.borrowed() as connection:

        def rows() -> Iterator[tuple[int]]:
            connection.connection.query("SET @leak = 1")
            yield (1,)

        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO numbers (a) VALUES (%s)", rows())
    assert_pristine(pool, pristine, mariadb=mariadb)


def test_a_parameter_may_run_a_statement_while_it_is_converted(
    pool: Pooled, pristine: State, mariadb: bool
) -> None:
    with pool.borrowed() as connection:

        def text() -> str:
            with connection.cursor() as other:
                other.execute("SET @leak = 1")
            return "x"

        # The driver refuses it today; whether it does is not ours to decide.
        with connection.cursor() as cursor, suppress(DatabaseError):
            cursor.execute("SELECT %s", [lazy(text, str)()])
    assert_pristine(pool, pristine, mariadb=mariadb)


def test_a_lazy_text_is_a_parameter_like_others(pool: Pooled) -> None:
    assert pool.fetch("SELECT %s", [lazy(lambda: "x", str)()]) == "x"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO {database}.numbers (a) VALUES (%s)",
        "INSERT INTO numbers (a) VALUES (CONNECTION_ID() + %s) /* a comment */",
        pytest.param(
            "INSERT INTO numbers (a) VALUES (ROW_COUNT() + %s)",
            marks=session_mode_only,  # in the other one it is refused
        ),
        "INSERT numbers (a) VALUES (%s)",
        "REPLACE INTO numbers (a) VALUES (%s)",
        "INSERT INTO numbers (a) VALUES (@x := %s)",
    ],
)
def test_executemany_works_with_statements_that_are_not_clean(pool: Pooled, sql: str) -> None:
    database = pool.fetch("SELECT DATABASE()")
    pool.run("DELETE FROM numbers")
    with pool.borrowed() as connection, connection.cursor() as cursor:
        cursor.executemany(sql.replace("{database}", database), [(1,), (2,), (3,)])
        assert cursor.rowcount == 3
    assert pool.fetch("SELECT COUNT(*) FROM numbers") == 3


@pytest.mark.parametrize("statement", ["SELECT 1", "SET @leak = 1"])
def test_a_statement_may_be_a_bytearray(
    pool: Pooled, pristine: State, mariadb: bool, statement: str
) -> None:
    pool.run(bytearray(statement.encode()))
    assert_pristine(pool, pristine, mariadb=mariadb)
