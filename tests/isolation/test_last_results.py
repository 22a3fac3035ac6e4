"""What the server remembers of the last statements, for those who ask."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.isolation.borrowing import Pooled, last_value
from tests.isolation.conftest import ROWS, OpenPool
from tests.support.mode import session_mode_only

pytestmark = session_mode_only  # in the other one such questions are refused

LEAVE = {
    "an id": "INSERT INTO numbers (a) VALUES (1)",
    "ids": "INSERT INTO numbers (a) VALUES (1), (2)",
    "an id by value": "SELECT LAST_INSERT_ID(42)",
    "rows": "SELECT a FROM seventeen",
    "warnings": "SELECT CAST(b AS SIGNED) FROM t UNION SELECT CAST('a' AS SIGNED)",
}

FORGOTTEN = {"id": 0, "found": False, "count": -1, "warnings": ()}


def ask_first(connection: Any) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT LAST_INSERT_ID(), FOUND_ROWS() = {ROWS}, ROW_COUNT()")
        last_id, found, count = cursor.fetchone()
    return {"id": last_id, "found": bool(found), "count": count}


def execute(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.fixture(params=["dirty", "always"])
def pool(request: pytest.FixtureRequest, open_pool: OpenPool) -> Pooled:
    return open_pool(reset=request.param)


@pytest.mark.parametrize("left", LEAVE)
def test_the_next_borrower_gets_no_answer_of_the_last_one(pool: Pooled, left: str) -> None:
    pool.run(LEAVE[left])
    with pool.borrowed() as connection:
        answers = ask_first(connection)
    pool.run(LEAVE[left])
    with pool.borrowed() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW WARNINGS")
        answers["warnings"] = cursor.fetchall()
    assert answers == FORGOTTEN


@pytest.mark.parametrize("left", LEAVE)
def test_nor_is_one_who_asks_in_a_transaction(pool: Pooled, left: str) -> None:
    pool.run(LEAVE[left])
    with pool.borrowed() as connection:
        connection.set_autocommit(False)
        answers = ask_first(connection)
        connection.rollback()
        connection.set_autocommit(True)
    assert (answers["id"], answers["found"]) == (0, False)


def test_nor_is_one_who_has_read_something_before(pool: Pooled) -> None:
    pool.run(LEAVE["an id"])
    with pool.borrowed() as connection:
        assert last_value(connection, "SELECT COUNT(*) FROM t") is not None
        assert last_value(connection, "SELECT LAST_INSERT_ID()") == 0


OWN = {
    "a write without an id": ["UPDATE t SET a = a + 1"],
    "an id of one's own choice": ["INSERT INTO numbers (id, a) VALUES (900000, 1)"],
    "a read, then something dirty": ["SELECT COUNT(*) FROM t", "SET @mine = 1"],
    "a write, then something dirty": ["UPDATE t SET a = a + 1", "SET @mine = 1"],
}


@pytest.mark.parametrize("own", OWN)
def test_nor_is_one_whose_own_statements_made_no_id(pool: Pooled, own: str) -> None:
    pool.run(LEAVE["an id"])
    with pool.borrowed() as connection:
        try:
            for statement in OWN[own]:
                execute(connection, statement)
            assert last_value(connection, "SELECT LAST_INSERT_ID()") == 0
        finally:
            execute(connection, "DELETE FROM numbers WHERE id = 900000")


def test_nor_of_rows_found_is_one_who_only_wrote(pool: Pooled) -> None:
    pool.run(LEAVE["rows"])
    with pool.borrowed() as connection:
        execute(connection, "UPDATE t SET a = a + 1")
        assert last_value(connection, "SELECT FOUND_ROWS()") != ROWS


def test_nor_of_warnings_is_one_who_read_from_no_table(pool: Pooled) -> None:
    pool.run(LEAVE["warnings"])
    with pool.borrowed() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.execute("SHOW WARNINGS")
        assert cursor.fetchall() == ()


ASKS: dict[str, Callable[[Any], Any]] = {
    "insert_id": lambda handle: handle.insert_id(),
    "warning_count": lambda handle: handle.warning_count(),
    "affected_rows": lambda handle: max(handle.affected_rows(), 1),
    "info": lambda handle: handle.info(),
}


@pytest.mark.parametrize("ask", ASKS)
def test_nor_by_the_drivers_own_connection(pool: Pooled, ask: str) -> None:
    with pool.borrowed() as connection:
        fresh = ASKS[ask](connection.connection)
    pool.run(LEAVE["ids"])
    with pool.borrowed() as connection:
        assert ASKS[ask](connection.connection) == fresh


def test_ones_own_answers_stay(pool: Pooled) -> None:
    pool.run(LEAVE["an id"])
    with pool.borrowed() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO numbers (a) VALUES (5)")
        own = cursor.lastrowid
        assert connection.connection.insert_id() == own
        assert last_value(connection, "SELECT LAST_INSERT_ID()") == own
    with pool.borrowed() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT a FROM seventeen")
        assert ask_first(connection)["found"]
    with pool.borrowed() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE t SET a = a + 1")
        changed = cursor.rowcount
        assert ask_first(connection)["count"] == changed
        assert last_value(connection, "SELECT LAST_INSERT_ID(43)") == 43
        assert last_value(connection, "SELECT LAST_INSERT_ID()") == 43
