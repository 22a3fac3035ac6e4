"""Statements that nobody thought of.

FUZZ_EXAMPLES=5000 tries that many, other ones each time; by default some, the same ones each time.
"""

import os
from contextlib import suppress
from typing import Any

import pytest
from django.db import Error as DjangoError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from MySQLdb import Error as DriverError

from pooldaemon.pool.drivers.mysql.sql.classify import judge
from tests.isolation.borrowing import Pooled
from tests.isolation.conftest import OpenPool
from tests.isolation.grammar import statements
from tests.isolation.state import State, differences, observe
from tests.isolation.ways import WAYS
from tests.mysql.scratch import Scratch

pytestmark = [pytest.mark.mysql, pytest.mark.timeout(0 if "FUZZ_EXAMPLES" in os.environ else 600)]

fuzzing = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "70")),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    # To make a finding smaller takes minutes: for who looks for some, not for CI.
    phases=tuple(Phase) if "FUZZ_EXAMPLES" in os.environ else (Phase.generate,),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

# Those that take several statements one after the other, and fail cleanly on nonsense.
FUZZED_WAYS = (
    "plain", "in bytes", "with parameters", "executemany", "cursor left open", "raw cursor",
    "raw unbuffered cursor", "driver's query, result unread", "without autocommit",
)  # fmt: skip


@pytest.fixture
def small_tables(plain: Scratch) -> Any:
    """Empties now and then what the fuzzer fills."""
    calls = 0

    def empty() -> None:
        nonlocal calls
        calls += 1
        if calls % 20 == 0:
            plain.admin.query(f"DELETE FROM {plain.account.name}.fuzzed")

    return empty


def left_behind(pool: Pooled, pristine: State, *, mariadb: bool) -> dict[str, Any]:
    try:
        with pool.borrowed() as connection:
            found = differences(pristine, observe(connection, mariadb=mariadb))
    except DjangoError as error:
        found = {"it can't even be looked at": ("", error)}
    if found:
        pool.close()  # the next example begins with a new session
    return found


def test_after_any_borrower_the_session_is_as_new(
    open_pool: OpenPool, pristine: State, mariadb: bool, small_tables: Any
) -> None:
    pool = open_pool()

    @fuzzing
    @given(st.lists(st.tuples(st.sampled_from(FUZZED_WAYS), statements()), min_size=1, max_size=3))
    def check(borrower: list[tuple[str, str]]) -> None:
        small_tables()
        with pool.borrowed() as connection:
            for way, statement in borrower:
                with suppress(DjangoError, DriverError, UnicodeError, TypeError):
                    WAYS[way](connection, statement)
        assert left_behind(pool, pristine, mariadb=mariadb) == {}

    check()


def test_what_is_called_clean_leaves_nothing(
    open_pool: OpenPool, pristine: State, mariadb: bool, small_tables: Any
) -> None:
    pool = open_pool(reset="never")
    verdicts: list[bool] = []

    @fuzzing
    @given(st.one_of(statements(harmful=False), statements()))
    def check(statement: str) -> None:
        small_tables()
        clean = bool(judge(statement))
        verdicts.append(clean)
        if not clean:
            return
        with pool.borrowed() as connection, suppress(DjangoError, DriverError):
            connection.connection.cursor().execute(statement)
        assert left_behind(pool, pristine, mariadb=mariadb) == {}

    check()
    assert sum(verdicts) > len(verdicts) / 10, "hardly any was called clean: this tests nothing"


@pytest.mark.parametrize("splice", ["SELECT {}", "{}", "SELECT a FROM seventeen WHERE a = {}"])
def test_what_is_called_clean_leaves_nothing_however_it_is_pasted_together(
    open_pool: OpenPool, pristine: State, mariadb: bool, small_tables: Any, splice: str
) -> None:
    pieces = (
        "SELECT", "GET_LOCK", "get_lock", "(", ")", "'", '"', "`", "\\", "'leak'", "0", ",", " ",
        "@", "leak", ":=", "1", "/*", "*/", "!", "--", "\n", "#", ";", "%s", "%%", "%", "INTO", "{",
        "}", "fn", "SET", "ABS", "\x00", "\xa0", "e", ".", "UNION", "x'", "_utf8mb4", "N'",
        "=", "-",
    )  # fmt: skip
    pool = open_pool(reset="never")

    @fuzzing
    @given(st.lists(st.sampled_from(pieces), max_size=14).map("".join))
    def check(pasted: str) -> None:
        small_tables()
        statement = splice.replace("{}", pasted)
        if not judge(statement):
            return
        with pool.borrowed() as connection, suppress(DjangoError, DriverError):
            connection.connection.cursor().execute(statement)
        assert left_behind(pool, pristine, mariadb=mariadb) == {}

    check()
