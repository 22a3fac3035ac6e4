"""Which statements ask about earlier ones, and what settles the answer."""

from typing import Any

import pytest

from pooldaemon.exceptions import EarlierStatementError
from pooldaemon.pool.drivers.mysql.sql.classify import READS, SAVEPOINT, WRITES
from pooldaemon.pool.drivers.mysql.sql.last_result import refuse_result, refuse_unsettled

QUESTIONS = [
    "SELECT LAST_INSERT_ID()",
    "select a, last_insert_id ( ) from t",
    "INSERT INTO t (a) VALUES (LAST_INSERT_ID())",
    "SELECT @@last_insert_id",
    "SELECT @@session.identity",
    "SELECT @@`last_insert_id`",
    "SELECT @@session . identity",
    "SET @a = @@identity",
    "SELECT 1, @@identity = 5",
    'SELECT @@"identity"',
    "SELECT `last_insert_id`()",
    'SELECT "LAST_INSERT_ID" ()',
    "SELECT last_insert_id/*!*/()",
    "SELECT last_insert_id/**/( /* none */ )",
    "SELECT `found_rows`(), `a`",
    "SELECT FOUND_ROWS()",
    "SELECT row_count()",
    "SHOW WARNINGS",
    "SHOW  ERRORS LIMIT 1",
    "SHOW COUNT(*) WARNINGS",
    "SHOW COUNT( * ) ERRORS",
    "SHOW /* the */ WARNINGS",
    "SHOW -- the\n WARNINGS",
    "/*! SHOW WARNINGS */",
    "/*M!100100 SHOW WARNINGS */",
    "GET DIAGNOSTICS @n = NUMBER",
    "GET CURRENT DIAGNOSTICS @n = NUMBER",
    "SELECT @@warning_count",
    "SELECT @@local.error_count",
    r"SELECT 'it\'s', LAST_INSERT_ID()",
    "SHOW VARIABLES LIKE 'last_insert_id'",
    "SHOW LOCAL VARIABLES WHERE variable_name = 'IDENTITY'",
    "SELECT * FROM performance_schema.`session_variables` WHERE variable_name = 'last_insert_id'",
]

NO_QUESTIONS = [
    "SELECT LAST_INSERT_ID(5)",
    "UPDATE sequence SET id = LAST_INSERT_ID(id + 1)",
    "CREATE TABLE errors (warnings INT, row_count INT, identity INT)",
    "/* warnings */ SELECT a FROM errors",
    "SELECT 'SHOW WARNINGS', @x",
    r"SELECT 'it\'s LAST_INSERT_ID()', @x",
    'SELECT "FOUND_ROWS()", @x',
    "SHOW TABLES",
    "SET insert_id = 7",
    "SET @@session.identity = 7",
    "SELECT @@insert_id",
    "SELECT @@session.`insert_id`",
    "SHOW VARIABLES LIKE 'wait_timeout'",
    "SHOW GLOBAL VARIABLES LIKE 'last_insert_id'",
    "SELECT `last_insert_id`, `show warnings` FROM t",
]


class Session:
    """A session on which its borrower has done so much."""

    def __init__(self, **done: Any) -> None:
        self.dirty = False
        self.ran = 0
        self.generated_ids: set[int] = set()
        self.id_is_own = False
        self.last_statement: bytes | str = b""
        self.warnings = 0
        self.last_id = 0
        self.quote = rb"\'"
        vars(self).update(done)

    def escape_string(self, text: str) -> bytes:
        return self.quote

    def warning_count(self) -> int:
        return self.warnings

    def ask_aside(self, statement: str) -> Any:
        return self

    def fetch_row(self) -> Any:
        return ((self.last_id,),)


def is_refused(statement: str, **done: Any) -> bool:
    try:
        refuse_unsettled(Session(**done), statement.encode())
    except EarlierStatementError:
        return True
    return False


@pytest.mark.parametrize("statement", QUESTIONS)
def test_a_question_that_comes_first_is_refused(statement: str) -> None:
    assert is_refused(statement)


@pytest.mark.parametrize("statement", NO_QUESTIONS)
def test_what_asks_nothing_is_not(statement: str) -> None:
    assert not is_refused(statement)


def test_where_a_literal_ends_depends_on_the_sql_mode() -> None:
    statement = r"SELECT 'a\', LAST_INSERT_ID(), '\'"
    assert not is_refused(statement)
    assert is_refused(statement, quote=b"''")  # with NO_BACKSLASH_ESCAPES


def test_the_error_names_the_ways_out_and_shows_no_data() -> None:
    with pytest.raises(EarlierStatementError) as caught:
        refuse_unsettled(Session(), b"SELECT 'secret', ROW_COUNT()")
    assert "SELECT ?, ROW_COUNT()" in str(caught.value)
    assert "transaction.atomic() or connection.pinned()" in str(caught.value)


@pytest.mark.parametrize(
    ("question", "done", "answered"),
    [
        ("LAST_INSERT_ID()", {"ran": WRITES, "generated_ids": {7}, "last_id": 7}, True),
        ("LAST_INSERT_ID()", {"ran": WRITES, "last_id": 7}, False),
        ("LAST_INSERT_ID()", {"ran": WRITES, "generated_ids": {500}, "last_id": 7}, False),
        ("LAST_INSERT_ID()", {"ran": READS, "last_id": 7}, False),
        ("LAST_INSERT_ID()", {"dirty": True, "id_is_own": True, "last_id": 43}, True),
        ("LAST_INSERT_ID()", {"dirty": True, "id_is_own": True}, False),
        ("LAST_INSERT_ID(), ROW_COUNT()", {"ran": WRITES, "generated_ids": {7}}, True),
        ("LAST_INSERT_ID(), ROW_COUNT()", {"ran": WRITES}, False),
        ("FOUND_ROWS()", {"ran": READS}, True),
        ("FOUND_ROWS()", {"ran": WRITES}, False),
        ("FOUND_ROWS()", {"ran": SAVEPOINT}, False),
        ("ROW_COUNT()", {"ran": READS}, True),
        ("@@warning_count", {"ran": WRITES}, True),
        ("@@warning_count", {"ran": READS, "last_statement": b"SELECT a FROM t"}, True),
        ("@@warning_count", {"ran": READS, "last_statement": b"SELECT 'from'"}, False),
        ("@@warning_count", {"ran": READS, "last_statement": b"SELECT 1", "warnings": 2}, True),
        ("@@warning_count", {"ran": SAVEPOINT, "last_statement": b"SAVEPOINT `s`"}, False),
    ],
    ids=str,
)
def test_it_is_answered_if_the_borrowers_own_statements_settle_it(
    question: str, done: dict[str, Any], answered: bool
) -> None:
    assert is_refused(f"SELECT {question}", **done) is not answered


@pytest.mark.parametrize(
    ("name", "ran", "answered"),
    [
        ("insert_id", 0, False),
        ("insert_id", READS, False),
        ("insert_id", WRITES, True),
        ("affected_rows", 0, False),
        ("affected_rows", READS, True),
    ],
)
def test_so_are_the_drivers_methods(name: str, ran: int, answered: bool) -> None:
    if answered:
        refuse_result(Session(ran=ran), name)
    else:
        with pytest.raises(EarlierStatementError):
            refuse_result(Session(ran=ran), name)
