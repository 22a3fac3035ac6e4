"""Nothing that a borrower leaves on a session is seen by the next."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from MySQLdb.cursors import SSCursor

from pooldaemon import auto_close_db
from tests.mysql.scratch import Scratch
from tests.mysql.use import fetch, return_connection, run, session_id, stats
from tests.support.mode import POOL_MODE
from tests.unit.databases import AddDatabase


def statement(sql: str) -> Callable[[str], None]:
    return lambda alias: run(alias, sql)


def raw(alias: str) -> Any:
    """The driver's connection, as the borrower holds it."""
    connections[alias].ensure_connection()
    return connections[alias].connection


def through_raw_cursor(alias: str) -> None:
    cursor = raw(alias).cursor()
    cursor.execute("SET @a = 1")


def through_raw_query(alias: str) -> None:
    raw(alias).query("SET @a = 1")


def through_callproc(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.callproc("set_a")


def through_executemany(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.executemany("SET @a = %s", [[1], [2]])


def through_second_statement(alias: str) -> None:
    run(alias, "SELECT 1; SET @a = 1")


def through_unread_second_result(alias: str) -> None:
    raw(alias).cursor().execute("SET @a = 1; SELECT 1; SELECT 2")


def through_use_result(alias: str) -> None:
    handle = raw(alias)
    handle.query("SELECT 1 UNION SELECT 2")
    handle.use_result()


def through_select_db(alias: str) -> None:
    raw(alias).select_db("information_schema")


def through_character_set(alias: str) -> None:
    raw(alias).set_character_set("latin1")


def open_transaction(alias: str) -> None:
    connections[alias].set_autocommit(False)
    run(alias, "INSERT INTO t VALUES (1)")


def begun_transaction(alias: str) -> None:
    run(alias, "BEGIN")
    run(alias, "INSERT INTO t VALUES (1)")


def begun_by_handle(alias: str) -> None:
    raw(alias).begin()
    run(alias, "INSERT INTO t VALUES (1)")


def unread_rows(alias: str) -> None:
    raw(alias).cursor(SSCursor).execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")


def unread_rows_kept(alias: str) -> None:
    cursor = raw(alias).cursor(SSCursor)
    cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
    kept.append(cursor)


kept: list[Any] = []
NO_TABLE = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'left_behind'"
CHARSET = """
SELECT CONCAT_WS(' ', @@character_set_client, @@character_set_connection,
                 @@character_set_results, @@collation_connection)
"""

# What is left, and a question whose answer must be that of a new session.
LEFT: dict[str, tuple[Callable[[str], None], str]] = {
    "variable": (statement("SET @a = 1"), "SELECT @a"),
    "variable in a SELECT": (statement("SELECT @a := 1"), "SELECT @a"),
    "variable in a comment": (statement("SELECT 1 /*!50000 INTO @a */"), "SELECT @a"),
    "variable by executemany": (through_executemany, "SELECT @a"),
    "variable by a raw cursor": (through_raw_cursor, "SELECT @a"),
    "variable by a raw query": (through_raw_query, "SELECT @a"),
    "variable by a procedure": (through_callproc, "SELECT @a"),
    "variable by CALL": (statement("CALL set_a()"), "SELECT @a"),
    "variable by a second statement": (through_second_statement, "SELECT @a"),
    "unread second result": (through_unread_second_result, "SELECT @a"),
    "unread use_result": (through_use_result, "SELECT 7"),
    "lock": (statement("SELECT GET_LOCK('pd', 0)"), "SELECT IS_FREE_LOCK('pd')"),
    "lock by DO": (statement("DO GET_LOCK('pd', 0)"), "SELECT IS_FREE_LOCK('pd')"),
    "temporary table": (
        statement("CREATE TEMPORARY TABLE t (n INT)"),
        "SELECT COUNT(*) FROM t",
    ),
    "database": (statement("USE information_schema"), "SELECT DATABASE()"),
    "database by select_db": (through_select_db, "SELECT DATABASE()"),
    "time zone": (statement("SET time_zone = '+05:00'"), "SELECT @@session.time_zone"),
    "isolation": (
        statement("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        "SELECT @@session.{isolation}",
    ),
    "charset": (statement("SET NAMES latin1"), CHARSET),
    "charset by the handle": (through_character_set, CHARSET),
    "collation": (statement("SET collation_connection = 'utf8mb4_bin'"), CHARSET),
    "sql_mode": (statement("SET SESSION sql_mode = 'ANSI_QUOTES'"), "SELECT @@session.sql_mode"),
    "foreign keys": (statement("SET foreign_key_checks = 0"), "SELECT @@foreign_key_checks"),
    "autocommit off": (statement("SET autocommit = 0"), "SELECT @@autocommit"),
    "last insert id": (statement("SELECT LAST_INSERT_ID(77)"), "SELECT LAST_INSERT_ID()"),
    "open transaction": (open_transaction, "SELECT COUNT(*) FROM t"),
    "BEGIN": (begun_transaction, "SELECT COUNT(*) FROM t"),
    "begin() of the handle": (begun_by_handle, "SELECT COUNT(*) FROM t"),
    "prepared statement": (statement("PREPARE p FROM 'SELECT 1'"), "SELECT 7"),
    "table lock": (statement("LOCK TABLES t READ"), "SELECT COUNT(*) FROM t"),
    "handler": (statement("HANDLER t OPEN"), "SELECT 7"),
    "xa transaction": (statement("XA START 'pd'"), "SELECT @@autocommit"),
    "unread rows": (unread_rows, "SELECT 7"),
    "unread rows of a cursor kept": (unread_rows_kept, "SELECT 7"),
}


@pytest.fixture(autouse=True)
def procedure(scratch: Scratch) -> Iterator[None]:
    name = f"{scratch.account.name}.set_a"
    scratch.admin.query(f"CREATE PROCEDURE {name}() SET @a = 1")
    yield
    scratch.admin.query(f"DROP PROCEDURE {name}")
    kept.clear()


@pytest.fixture
def isolation(scratch: Scratch) -> str:
    """What the server calls the variable: MariaDB 10.11 has the old name only."""
    (found,) = scratch.admin.query(
        "SHOW VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')"
    )[:1]
    name: str = found["Variable_name"]
    return name


@pytest.mark.parametrize("mode", ["dirty", "always"])
@pytest.mark.parametrize("what", LEFT)
def test_the_next_borrower_does_not_see(
    add_pooled: AddDatabase, isolation: str, what: str, mode: str
) -> None:
    alias = add_pooled(pool_size=1, timeout=5, reset=mode)
    leave, question = LEFT[what]
    if "LAST_INSERT_ID" in question and POOL_MODE == "transaction":
        pytest.skip("refused there")
    question = question.format(isolation=isolation)
    with auto_close_db():
        fresh = fetch(alias, question)
    with auto_close_db():
        leave(alias)
    for _ in range(2):  # the reset's own statements leave nothing unread either
        with auto_close_db():
            assert fetch(alias, question) == fresh
    with transaction.atomic(using=alias):
        run(alias, "INSERT INTO t VALUES (5)")
    assert fetch(alias, "SELECT COUNT(*) FROM t WHERE n = 5") == 1
    assert connections[alias].get_autocommit()
    assert stats(alias).peak == 1


CHEAP = ["variable", "lock", "temporary table", "database", "charset", "isolation", "BEGIN"]


@pytest.mark.parametrize("what", CHEAP)
def test_a_dirty_session_is_reset_rather_than_replaced(add_pooled: AddDatabase, what: str) -> None:
    alias = add_pooled(pool_size=1)
    with auto_close_db():
        first = session_id(alias)
        LEFT[what][0](alias)
    with auto_close_db():
        assert session_id(alias) == first
    assert (stats(alias).resets, stats(alias).connects) == (1, 1)


def test_orm_traffic_is_never_reset(alias: str) -> None:
    with auto_close_db():
        run(alias, "SELECT 1")
    for _ in range(5):
        with auto_close_db():
            with transaction.atomic(using=alias):
                run(alias, "INSERT INTO t (n) VALUES (%s)", [1])
                with transaction.atomic(using=alias):
                    run(alias, "UPDATE t SET n = n + 1 WHERE n = %s", [1])
            assert fetch(alias, "SELECT COUNT(*) FROM t FOR UPDATE") > 0
            run(alias, "DELETE FROM t")
    assert stats(alias).resets == 0


def test_always_resets_clean_sessions_too(add_pooled: AddDatabase) -> None:
    alias = add_pooled(pool_size=1, reset="always")
    for _ in range(3):
        with auto_close_db():
            run(alias, "SELECT 1")
    assert stats(alias).resets == 3
    assert stats(alias).connects == 1


def test_never_leaves_variables_and_still_ends_transactions(add_pooled: AddDatabase) -> None:
    for leave in (open_transaction, begun_transaction):
        alias = add_pooled(pool_size=1, reset="never", timeout=3)
        with auto_close_db():
            run(alias, "SET @kept = 1")
            leave(alias)
        with auto_close_db():
            assert fetch(alias, "SELECT COUNT(*) FROM t") == 0
            assert fetch(alias, "SELECT @kept") == 1
            assert fetch(alias, "SELECT @@autocommit") == 1
        assert stats(alias).resets == 0


def test_a_transaction_left_open_releases_its_locks_at_once(add_pooled: AddDatabase) -> None:
    alias, other = add_pooled(pool_size=1), add_pooled(pool_size=2)
    run(other, "INSERT INTO t VALUES (1)")
    with auto_close_db():
        connections[alias].set_autocommit(False)
        run(alias, "UPDATE t SET n = 2")
    run(other, "SELECT n FROM t FOR UPDATE NOWAIT")


def test_what_a_receiver_sets_is_there_after_a_reset(add_pooled: AddDatabase) -> None:
    alias = add_pooled(pool_size=1)
    calls: list[str] = []

    def set_up(connection: Any, **kwargs: Any) -> None:
        if connection.alias == alias:
            calls.append(alias)
            with connection.cursor() as cursor:
                cursor.execute("SET @tenant = %s, time_zone = '+03:00'", ["shop; 'quoted'"])

    connection_created.connect(set_up)
    try:
        for _ in range(3):
            with auto_close_db():
                assert fetch(alias, "SELECT @tenant") == "shop; 'quoted'"
                assert fetch(alias, "SELECT @@session.time_zone") == "+03:00"
                run(alias, "SET @tenant = 'other', time_zone = '+01:00'")
    finally:
        connection_created.disconnect(set_up)
    assert calls == [alias] * 3
    assert stats(alias).connects == 1


def test_sessions_without_autocommit_come_without_it_each_time(
    add_database: AddDatabase, scratch: Scratch
) -> None:
    settings = scratch.account.settings(AUTOCOMMIT=False, OPTIONS={"pool": {"pool_size": 1}})
    alias = add_database(**settings)
    for _ in range(2):
        assert fetch(alias, "SELECT @@autocommit") == 0
        assert not connections[alias].get_autocommit()
        run(alias, "INSERT INTO t VALUES (1)")
        return_connection(alias)
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 0
    return_connection(alias)


# -- what the text of a statement does not show -----------------------------------------


@pytest.mark.parametrize("hidden", ["view", "trigger", "function"])
def test_code_hidden_in_the_schema_is_reset(
    add_pooled: AddDatabase, scratch: Scratch, hidden: str
) -> None:
    admin, name = scratch.admin, scratch.account.name
    admin.query(
        f"CREATE FUNCTION {name}.mark() RETURNS INT NO SQL DETERMINISTIC "
        "BEGIN SET @hidden = 1; RETURN GET_LOCK('pd_hidden', 0); END"
    )
    admin.query(f"CREATE TABLE {name}.h (n INT)")
    admin.query(f"CREATE VIEW {name}.v AS SELECT {name}.mark() AS n")
    admin.query(f"CREATE TRIGGER {name}.g BEFORE INSERT ON {name}.h FOR EACH ROW SET @hidden = 1")
    use = {"view": "SELECT n FROM v", "trigger": "INSERT INTO h VALUES (1)",
           "function": "SELECT mark()"}[hidden]  # fmt: skip
    try:
        alias = add_pooled(pool_size=1)
        with auto_close_db():
            run(alias, use)
            assert fetch(alias, "SELECT @hidden") == 1
        with auto_close_db():
            assert fetch(alias, "SELECT @hidden") is None
            assert fetch(alias, "SELECT IS_FREE_LOCK('pd_hidden')") == 1
    finally:
        admin.query(f"DROP TABLE {name}.h")
        admin.query(f"DROP VIEW {name}.v")
        admin.query(f"DROP FUNCTION {name}.mark")


def test_a_statement_in_bytes_is_judged_like_text(alias: str) -> None:
    with auto_close_db():
        raw(alias).cursor().execute(b"SET @a = 1")
    with auto_close_db():
        assert fetch(alias, "SELECT @a") is None


def test_a_quoted_placeholder_does_not_hide_what_its_value_holds(alias: str) -> None:
    with auto_close_db():
        run(alias, "SELECT '%s'", [", GET_LOCK(0x7064, 0), "])
    with auto_close_db():
        assert fetch(alias, "SELECT IS_FREE_LOCK('pd')") == 1
