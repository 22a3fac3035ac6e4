"""LAST_INSERT_ID(expression) keeps its value, in whatever statement; and what the pool adds."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db.utils import Error

from pooldaemon.exceptions import EarlierStatementError
from pooldaemon.pool.drivers.mysql.connection import PooledConnection
from pooldaemon.pool.drivers.mysql.sql.last_result import OVERWRITE_ALL
from tests.isolation.borrowing import last_value
from tests.isolation.conftest import OpenPool
from tests.mysql.scratch import Scratch

pytestmark = pytest.mark.mysql

KEPT = 990042  # a number that no row has

INSERT = "INSERT INTO numbers (a) VALUES (1)"

KEEPS: dict[str, list[str]] = {
    "SELECT": ["SELECT LAST_INSERT_ID({})"],
    "SELECT, with blanks and a comment": ["SELECT LAST_INSERT_ID /* of */ ( {} )"],
    "SELECT of a quoted name": ["SELECT `last_insert_id`({})"],
    "SELECT from rows": ["SELECT LAST_INSERT_ID({}) FROM t LIMIT 1"],
    "in a subquery": ["SELECT a FROM t WHERE a < (SELECT LAST_INSERT_ID({})) LIMIT 1"],
    "SELECT FOR UPDATE": ["SELECT LAST_INSERT_ID({}) FROM t FOR UPDATE"],
    "INSERT": ["INSERT INTO t (a) VALUES (LAST_INSERT_ID({}))"],
    "UPDATE": ["UPDATE t SET b = LAST_INSERT_ID({}) LIMIT 1"],
    "UPDATE of nothing, then SELECT": [
        "UPDATE t SET b = LAST_INSERT_ID(1) WHERE a < 0",
        "SELECT LAST_INSERT_ID({})",
    ],
    "DELETE": [
        "INSERT INTO numbers (a) VALUES ({})",
        "DELETE FROM numbers WHERE a = {} AND LAST_INSERT_ID(a)",
    ],
    "DO": ["DO LAST_INSERT_ID({})"],
    "SET of a user variable": ["SET @kept = LAST_INSERT_ID({})"],
    "SET of last_insert_id": ["SET last_insert_id = {}"],
    "SET of @@identity": ["SET @@session.identity = {}"],
    "prepared": ["PREPARE keeps FROM 'SELECT LAST_INSERT_ID({})'", "EXECUTE keeps"],
    "a procedure": ["CALL keeps({})"],
    "a procedure that inserts": ["CALL inserts({})"],
}

BEFORE = {
    "first": [],
    "after a read": ["SELECT a FROM t"],
    "after a write": ["UPDATE t SET a = a + 0"],
    "after an id of one's own": [INSERT],
    "after an id of one's own choice": ["INSERT INTO numbers (id, a) VALUES (990001, 1)"],
    "after something dirty": ["SET @x = 5"],
}

ASKS = ("SELECT LAST_INSERT_ID()", "SELECT @@identity", "SELECT `LAST_INSERT_ID`()")


@pytest.fixture(scope="module")
def plain(plain: Scratch) -> Iterator[Scratch]:
    name = plain.account.name
    create = f"CREATE PROCEDURE {name}."
    plain.admin.query(f"{create}keeps(n INT) BEGIN SELECT LAST_INSERT_ID(n); END")
    plain.admin.query(f"{create}inserts(n INT) INSERT INTO numbers (id, a) VALUES (NULL, n)")
    plain.admin.query(f"{create}nothing() DO 1")
    yield plain
    for procedure in ("keeps", "inserts", "nothing"):
        plain.admin.query(f"DROP PROCEDURE {name}.{procedure}")


@pytest.fixture(autouse=True)
def numbers(plain: Scratch) -> Iterator[None]:
    yield
    plain.admin.query(f"DELETE FROM {plain.account.name}.numbers")
    plain.admin.query(f"ALTER TABLE {plain.account.name}.numbers AUTO_INCREMENT = 1")


def execute(connection: Any, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        while cursor.nextset():
            pass


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("keeps", KEEPS)
def test_the_value_is_kept_for_the_next_question(
    open_pool: OpenPool, plain: Scratch, keeps: str, before: str
) -> None:
    pool = open_pool()
    pool.run(INSERT)
    statements = [each.replace("{}", str(KEPT)) for each in KEEPS[keeps]]
    for ask in ASKS:
        with pool.borrowed() as connection:
            for statement in [*BEFORE[before], *statements]:
                execute(connection, statement)
            expected = KEPT
            if "inserts" in keeps:
                expected = last_value(connection, f"SELECT MAX(id) FROM numbers WHERE a = {KEPT}")
            assert last_value(connection, ask) == expected
            execute(connection, "DELETE FROM numbers WHERE id >= 990001")


NOTHING_KEPT = ["UPDATE t SET b = LAST_INSERT_ID(9) WHERE a < 0", "CALL nothing()", "SET @x = 5"]


@pytest.mark.parametrize("own", NOTHING_KEPT)
def test_the_value_of_an_earlier_borrower_is_not_returned(open_pool: OpenPool, own: str) -> None:
    pool = open_pool()
    pool.run(f"SELECT LAST_INSERT_ID({KEPT})")
    with pool.borrowed() as connection:
        execute(connection, own)
        try:
            assert last_value(connection, "SELECT LAST_INSERT_ID()") == 0
        except EarlierStatementError:
            assert connection.settings_dict["OPTIONS"]["pool"]["mode"] == "transaction"


WITHOUT_ANSWERS = [
    "SET @x = 5",
    "SET time_zone = '+05:00', @y = CONCAT('a', 'LAST_INSERT_ID()')",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET NAMES utf8mb4",
    "SELECT GET_LOCK('leak', 0)",
    "SELECT RELEASE_LOCK('leak'), @x, @@session.time_zone",
    "SELECT @@insert_id",
    "SET insert_id = 7",
    "START TRANSACTION",
    "ROLLBACK",
    "SHOW TABLES",
    "SHOW STATUS LIKE 'Uptime'",
    "LOCK TABLES t READ",
    "UNLOCK TABLES",
    "PREPARE asks FROM 'SELECT LAST_INSERT_ID(), ROW_COUNT()'",
    "DEALLOCATE PREPARE asks",
    "CREATE TEMPORARY TABLE leak_temporary (a INT)",
    "DROP TEMPORARY TABLE leak_temporary",
    "USE information_schema",
]


def test_what_asks_nothing_is_preceded_by_nothing(
    open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = open_pool()
    pool.run(INSERT)
    with pool.borrowed() as connection:
        with asides(monkeypatch) as asked:
            for statement in WITHOUT_ANSWERS:
                execute(connection, statement)
            assert asked == []
            execute(connection, "SELECT LAST_INSERT_ID(1)")
            assert len(asked) == 1
            execute(connection, "SELECT LAST_INSERT_ID()")
            assert len(asked) <= 2  # in transaction mode it is looked at, too
        execute(connection, "USE " + connection.settings_dict["NAME"])


FIRST = {
    "UNLOCK TABLES": "LOCK TABLES t READ",
    "ROLLBACK": "START TRANSACTION",
    "DEALLOCATE PREPARE asks": "PREPARE asks FROM 'SELECT 1'",
    "DROP TEMPORARY TABLE leak_temporary": "CREATE TEMPORARY TABLE leak_temporary (a INT)",
}

WARNS = "SELECT CAST(b AS SIGNED) FROM t UNION SELECT CAST('a' AS SIGNED)"


@pytest.mark.parametrize("statement", WITHOUT_ANSWERS)
def test_nor_is_it_returned_to_a_statement_behind_another(
    open_pool: OpenPool, statement: str
) -> None:
    pool = open_pool()

    def answer_to(left: str, ask: str) -> Any:
        pool.run(left)
        with pool.borrowed() as connection:
            execute(connection, FIRST.get(statement, "SET @x = 5"))
            execute(connection, statement)
            try:
                with connection.cursor() as cursor:
                    cursor.execute(ask)
                    return cursor.fetchall()
            except EarlierStatementError:
                return "refused"
            finally:
                execute(connection, "USE " + connection.settings_dict["NAME"])

    assert answer_to(WARNS, "SHOW WARNINGS") in {(), "refused"}
    assert answer_to(INSERT, "SELECT LAST_INSERT_ID()") in {((0,),), "refused"}
    assert answer_to("SELECT a FROM seventeen", "SELECT FOUND_ROWS() = 17") in {((0,),), "refused"}


@pytest.mark.parametrize(
    "statement",
    ["CALL nothing()", "SELECT asks()", "SELECT `lower`('x')", "DO 1; DO asks()", "TABLE t"],
)
def test_stored_code_that_may_ask_gets_no_answer_of_others(
    open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    pool = open_pool()
    pool.run(INSERT)
    with pool.borrowed() as connection, asides(monkeypatch) as asked:
        with suppress(Error):
            execute(connection, statement)
        assert asked == [OVERWRITE_ALL]


@contextmanager
def asides(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str | bytes]]:
    """What the pool itself sends meanwhile."""
    asked: list[str | bytes] = []
    ask = PooledConnection.ask

    def noting(self: PooledConnection, statement: str | bytes) -> Any:
        asked.append(statement)
        return ask(self, statement)

    with monkeypatch.context() as patch:
        patch.setattr(PooledConnection, "ask", noting)
        yield asked
