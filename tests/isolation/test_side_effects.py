"""Code of a schema that is proven harmless, or not: on the server, in both modes, as it changes."""

import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from django.db import Error as DjangoError
from MySQLdb import Error as DriverError

from pooldaemon.pool.drivers.mysql.sql import side_effects
from pooldaemon.testing.poll import wait_until
from tests.isolation.borrowing import Pooled, last_value
from tests.isolation.conftest import OpenPool
from tests.isolation.state import State, differences, observe
from tests.mysql.scratch import Scratch
from tests.support.mode import MODES
from tests.support.server import Admin

pytestmark = pytest.mark.mysql

CODE = {
    "FUNCTION fine (a INT) RETURNS INT DETERMINISTIC BEGIN DECLARE x INT DEFAULT 1;"
    " IF a > 1 THEN SET x = a * 2; END IF; RETURN x; END": "FUNCTION fine",
    "FUNCTION ping () RETURNS INT DETERMINISTIC RETURN (SELECT MAX(a) FROM fine_view)": (
        "FUNCTION ping"
    ),
    "FUNCTION leave_it () RETURNS INT NO SQL"
    " BEGIN SET @leak = 1; RETURN GET_LOCK('leak', 0); END": "FUNCTION leave_it",
    "VIEW fine_view AS SELECT a, fine(a) AS b FROM t": "VIEW fine_view",
    "VIEW leaving AS SELECT leave_it() AS a": "VIEW leaving",
    "VIEW `over leaving` AS SELECT * FROM leaving": "VIEW `over leaving`",
    "TRIGGER audits AFTER INSERT ON numbers FOR EACH ROW"
    " INSERT INTO fuzzed (a, b) VALUES (NEW.a, CONCAT('x', NOW()))": "TRIGGER audits",
    "TRIGGER leaves BEFORE INSERT ON unlocked FOR EACH ROW SET @leak = 1": "TRIGGER leaves",
}

HARMLESS = (
    "SELECT a, b FROM fine_view LIMIT 1",
    "SELECT fine(a), ping() FROM t LIMIT 1",
    "SELECT `fine`(3)",
    "INSERT INTO numbers (a) VALUES (1)",
    "SELECT a FROM unlocked",
    "SELECT a FROM t /* a comment */",
)
LEAVING = (
    "SELECT leave_it()",
    "SELECT a FROM leaving",
    "SELECT a FROM LEAVING",
    "SELECT `x`.a FROM `leaving` AS `x`",
    "SELECT a FROM `over leaving`",
    "SELECT fine(a) FROM leaving",
    "SELECT t.a FROM t JOIN leaving ON t.a = leaving.a",
    "INSERT INTO numbers (a) SELECT a FROM leaving",
    "INSERT INTO unlocked (a) VALUES (1)",
    "INSERT IGNORE INTO unlocked SET a = 2",
)


@pytest.fixture(scope="module")
def with_code(hidden: Scratch) -> Iterator[Scratch]:
    # By the account itself: only a function's definer is shown its body.
    account = hidden.account
    url = f"mysql://{account.user}:{account.password}@{account.host}:{account.port}/{account.name}"
    with Admin(url) as itself:
        itself.query(f"USE {account.name}")
        for create in CODE:
            itself.query(f"CREATE {create}")
        yield hidden
        for drop in reversed(CODE.values()):
            itself.query(f"DROP {drop}")


@pytest.mark.parametrize("mode", MODES)
def test_harmless_code_costs_no_reset(open_pool: OpenPool, with_code: Scratch, mode: str) -> None:
    pool = open_pool(scratch=with_code, mode=mode)
    for statement in HARMLESS:
        with pool.borrowed() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
        assert pool.stats.resets == 0, statement


@pytest.mark.parametrize("mode", MODES)
def test_what_code_has_left_is_gone(
    open_pool: OpenPool, with_code: Scratch, pristine: State, mariadb: bool, mode: str
) -> None:
    pool = open_pool(scratch=with_code, mode=mode)
    same = {"DATABASE()", "CURRENT_USER()", "(SELECT COUNT(*) FROM t)"}
    leaks = {}
    for statement in LEAVING:
        with suppress(DjangoError):
            pool.run(statement)
        with pool.borrowed() as connection:
            leaked = differences(pristine, observe(connection, mariadb=mariadb))
        if leaked.keys() - same:
            leaks[statement] = leaked
    assert leaks == {}


def test_hidden_code_that_is_declared_harmless_is_not_reset(
    open_pool: OpenPool, with_code: Scratch
) -> None:
    pool = open_pool(scratch=with_code, hidden_code="harmless")
    pool.run("SELECT a FROM leaving")
    assert pool.stats.resets == 0
    pool.run("SELECT leave_it()")  # its own text is judged
    assert pool.stats.resets == 1


def use_until(pool: Pooled, statement: str, resets: bool) -> None:
    def is_reset() -> bool:
        before = pool.stats.resets
        pool.run(statement)
        return (pool.stats.resets > before) is resets

    wait_until(is_reset, 20, f"{statement} is {'never' if resets else 'always'} reset")


def test_what_others_do_to_the_schema_is_seen_while_the_pool_is_used(
    open_pool: OpenPool, hidden: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, run = hidden.account.name, hidden.admin.query
    monkeypatch.setattr(side_effects, "REFRESH", 0.0)
    pool = open_pool(scratch=hidden)
    pool.run("INSERT INTO numbers (a) VALUES (1)")
    connects = pool.stats.connects
    run(f"CREATE TRIGGER {name}.late BEFORE INSERT ON {name}.numbers FOR EACH ROW SET @leak = 1")
    try:
        use_until(pool, "INSERT INTO numbers (a) VALUES (1)", resets=True)
    finally:
        run(f"DROP TRIGGER {name}.late")
    use_until(pool, "INSERT INTO numbers (a) VALUES (1)", resets=False)
    assert pool.stats.connects == connects


def test_what_was_left_before_others_code_was_seen_is_gone_then(
    open_pool: OpenPool, hidden: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, run = hidden.account.name, hidden.admin.query
    pool = open_pool(scratch=hidden, pool_size=2, mode="session")
    insert, look = "INSERT INTO numbers (a) VALUES (1)", "SELECT CONNECTION_ID(), @leak"
    with pool.borrowed() as connection, closing(connection.copy()) as other:
        for one in (connection, other):
            last_value(one, "SELECT a FROM t LIMIT 1")
    run(f"CREATE TRIGGER {name}.unseen BEFORE INSERT ON {name}.numbers FOR EACH ROW SET @leak = 1")
    try:
        with pool.borrowed() as connection, closing(connection.copy()) as other:
            for one in (connection, other):
                with one.cursor() as cursor:
                    cursor.execute(insert)
        assert pool.stats.resets == 0  # nobody knows yet
        monkeypatch.setattr(side_effects, "REFRESH", 0.0)
        use_until(pool, insert, resets=True)
        left = {}
        with pool.borrowed() as connection, closing(connection.copy()) as other:
            for one in (connection, other):
                with one.cursor() as cursor:
                    cursor.execute(look)
                    left |= dict(cursor.fetchall())
    finally:
        run(f"DROP TRIGGER {name}.unseen")
    assert len(left) == 2
    assert set(left.values()) == {None}


def test_an_answer_that_is_too_old_is_believed_no_more(
    open_pool: OpenPool, hidden: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = open_pool(scratch=hidden)
    pool.run("SELECT a FROM t")
    monkeypatch.setattr(side_effects, "RECHECK", 0.0)
    pool.connection.pool._pool._next_sweep = 0.0  # type: ignore[attr-defined]  # it is due
    with pool.borrowed() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT a FROM t")  # clean, as far as it was known
    assert pool.stats.resets + sum(pool.stats.discards.values()) == 0  # it is not the borrower's
    monkeypatch.undo()
    use_until(pool, "SELECT a FROM t", resets=False)


def test_a_large_schema_is_read_beside_the_units_of_work(
    open_pool: OpenPool, hidden: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pooldaemon.pool.drivers.mysql.sql.catalogue.FEW_TABLES", 1)
    monkeypatch.setattr("pooldaemon.pool.drivers.mysql.sql.catalogue.PART", {True: 2, False: 2})
    monkeypatch.setattr(side_effects, "PIECE", 0.0)  # a question at a time
    pool = open_pool(scratch=hidden)
    pool.run("SELECT a FROM t")
    assert pool.stats.resets == 1  # nothing is known yet
    use_until(pool, "SELECT a FROM t", resets=False)
    assert pool.stats.connects == 1
    pool.close()
    turn = pool.connection.pool._pool._upkeep._turn  # type: ignore[attr-defined]
    assert turn.take() is not None, "a piece is still being read"


def test_ddl_of_another_thread_counts_before_the_next_verdict(
    open_pool: OpenPool, hidden: Scratch
) -> None:
    pool = open_pool(scratch=hidden, pool_size=2)
    name = hidden.account.name
    pool.run("INSERT INTO numbers (a) VALUES (1)")
    created, looked = threading.Event(), threading.Event()

    def change() -> None:
        with pool.borrowed() as connection, connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TRIGGER {name}.own BEFORE INSERT ON numbers FOR EACH ROW SET @leak = 1"
            )
            created.set()
            looked.wait(20)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        assert created.wait(20)
        before = pool.stats.resets
        pool.run("INSERT INTO numbers (a) VALUES (1)")
        assert pool.stats.resets == before + 1
    finally:
        looked.set()
        thread.join()
        hidden.admin.query(f"DROP TRIGGER {name}.own")


CHARSETS = ("utf8mb4", "latin1", "gbk", "sjis", "big5", "cp1251", "koi8r")
MODES_OF_SQL = ("", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "PIPES_AS_CONCAT,IGNORE_SPACE", "ORACLE")
ODD = (
    "SELECT\xa0GET_LOCK('leak', 0)",
    "SELECT GET_LOCK\xa0('leak', 0)",
    "SELECT 1,\xa0GET_LOCK('leak', 0)",
    "SELECT 'a\xa5', GET_LOCK('leak', 0), 'b'",  # in sjis a backslash
    "SELECT '\u8868', GET_LOCK('leak', 0), 'b'",  # ends in a backslash there
    "SELECT '\u529f', GET_LOCK('leak', 0), 'b'",  # and in big5
    "SELECT \u0410, GET_LOCK('leak', 0)",
    "SELECT 1 --\xa0\n, GET_LOCK('leak', 0)",
    "SELECT 1 /*\xa5*/, GET_LOCK('leak', 0)",
    "SELECT `get_lock`('leak', 0)",
    "SELECT \"get_lock\"('leak', 0)",
    "SELECT '\\', GET_LOCK('leak', 0), '",
    "SELECT 'a' '\\' , GET_LOCK('leak', 0) , '\\'",
    "SELECT 5 %s('leak', 0)",
)


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("sql_mode", MODES_OF_SQL)
def test_a_statement_is_read_as_the_server_reads_it(
    open_pool: OpenPool, plain: Scratch, mariadb: bool, charset: str, sql_mode: str
) -> None:
    if sql_mode == "ORACLE" and not mariadb:
        pytest.skip("MariaDB's")
    pool = open_pool({"charset": charset, "init_command": f"SET sql_mode = '{sql_mode}'"})
    leaks = []
    for statement in ODD:
        with suppress(DjangoError, DriverError, UnicodeError):
            pool.run(statement)
        with suppress(DjangoError, DriverError, UnicodeError):
            pool.run(f"{statement.replace('%', '%%')} LIKE %s", ["x"])
        if pool.fetch("SELECT IS_USED_LOCK('leak') <=> CONNECTION_ID()"):
            leaks.append(statement)
    assert leaks == []
