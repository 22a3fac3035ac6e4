"""State left by code that no statement shows: functions, triggers, views."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from django.db import DatabaseError
from MySQLdb import Error as DriverError

from tests.isolation.conftest import OpenPool
from tests.isolation.residues import STATE
from tests.isolation.state import State, differences, observe
from tests.mysql.scratch import Scratch

pytestmark = pytest.mark.mysql

CALLERS = (
    "SELECT leave_it()",
    "SELECT leave_it ()",
    "SELECT `leave_it`()",
    "SELECT a FROM t WHERE a = leave_it()",
    "SELECT * FROM (SELECT leave_it() AS a) AS x",
    "WITH x AS (SELECT leave_it() AS a) SELECT * FROM x",
    "SELECT 1 UNION SELECT leave_it()",
    "SELECT a FROM t ORDER BY leave_it()",
    "INSERT INTO numbers (a) VALUES (leave_it())",
    "INSERT INTO numbers (a) SELECT leave_it()",
    "UPDATE numbers SET a = leave_it()",
    "DELETE FROM numbers WHERE a = leave_it()",
    "SELECT * FROM a_view",
    "SELECT * FROM `a_view` LIMIT 1",
    "SELECT (SELECT a FROM a_view) AS a",
    "SELECT * FROM a_view_of_a_view",
    "INSERT INTO triggering (a) VALUES (1)",
    "INSERT INTO triggering (a) VALUES (1) ON DUPLICATE KEY UPDATE a = 1",
    "REPLACE INTO triggering (a) VALUES (1)",
    "UPDATE triggering SET a = 2",
    "DELETE FROM triggering",
)

LEFT = ("SET @leak = 1", "DO GET_LOCK('leak', 0)", "SELECT 1 INTO @leak")


def statements_allowed_in_functions() -> list[str]:
    single = [residue.statements[0] for residue in STATE.values() if len(residue.statements) == 1]
    # MariaDB 10.11 crashes on a function that sets a transaction's characteristics.
    return [
        *LEFT,
        *(one for one in single if one.startswith("SET SESSION") and "TRANSACTION" not in one),
    ]


@contextmanager
def hidden_code(scratch: Scratch, statement: str) -> Iterator[None]:
    name, run = scratch.account.name, scratch.admin.query
    run(
        f"CREATE FUNCTION {name}.leave_it () RETURNS INT NOT DETERMINISTIC MODIFIES SQL DATA"
        f" BEGIN {statement}; RETURN 1; END"
    )
    run(f"CREATE VIEW {name}.a_view AS SELECT {name}.leave_it() AS a")
    run(f"CREATE VIEW {name}.a_view_of_a_view AS SELECT * FROM {name}.a_view")
    run(f"CREATE TABLE {name}.triggering (a INT PRIMARY KEY)")
    run(f"INSERT INTO {name}.triggering VALUES (7)")
    for moment in ("BEFORE INSERT", "BEFORE UPDATE", "AFTER DELETE"):
        trigger = moment.lower().replace(" ", "_")
        run(
            f"CREATE TRIGGER {name}.{trigger} {moment} ON {name}.triggering"
            f" FOR EACH ROW BEGIN {statement}; END"
        )
    try:
        yield
    finally:
        run(f"DROP TABLE {name}.triggering")
        run(f"DROP VIEW {name}.a_view, {name}.a_view_of_a_view")
        run(f"DROP FUNCTION {name}.leave_it")


@pytest.mark.parametrize("statement", statements_allowed_in_functions())
def test_what_hidden_code_left_is_gone_for_the_next_borrower(
    open_pool: OpenPool, pristine: State, hidden: Scratch, mariadb: bool, statement: str
) -> None:
    same = {"DATABASE()", "CURRENT_USER()", "(SELECT COUNT(*) FROM t)"}
    callers = CALLERS if statement in LEFT else CALLERS[::4]
    try:
        code = hidden_code(hidden, statement)
        code.__enter__()
    except DriverError as error:
        pytest.skip(f"not in functions here: {error}")
    leaks = {}
    try:
        pool = open_pool(scratch=hidden)
        for caller in callers:
            with suppress(DatabaseError):
                pool.run(caller)
            with pool.borrowed() as connection:
                leaked = differences(pristine, observe(connection, mariadb=mariadb))
            if leaked.keys() - same:
                leaks[caller] = leaked
    finally:
        code.__exit__(None, None, None)
    assert leaks == {}


HIDING = {
    "view": (
        "CREATE VIEW {0}.v AS SELECT {0}.locks() AS a",
        "DROP VIEW {0}.v",
        "SELECT a FROM v",
    ),
    "trigger": (
        "CREATE TRIGGER {0}.tr BEFORE INSERT ON {0}.t FOR EACH ROW SET @leak = 1",
        "DROP TRIGGER {0}.tr",
        "INSERT INTO t (a) VALUES (1)",
    ),
    "missing privilege to see triggers": (
        "REVOKE TRIGGER ON {0}.* FROM '{0}'@'%'",
        "GRANT TRIGGER ON {0}.* TO '{0}'@'%'",
        "INSERT INTO numbers (a) VALUES (1)",
    ),
}


@pytest.fixture
def locks(hidden: Scratch) -> Iterator[None]:
    name, run = hidden.account.name, hidden.admin.query
    run(f"CREATE FUNCTION {name}.locks () RETURNS INT NO SQL RETURN GET_LOCK('leak', 0)")
    yield
    run(f"DROP FUNCTION {name}.locks")


@pytest.mark.parametrize("what", HIDING)
@pytest.mark.usefixtures("locks")
def test_only_statements_that_name_it_are_reset(
    open_pool: OpenPool, hidden: Scratch, what: str
) -> None:
    hide, show, use = (sql.format(hidden.account.name) for sql in HIDING[what])
    hidden.admin.query(hide)
    try:
        pool = open_pool(scratch=hidden)
        pool.run("SELECT a FROM t")
        pool.run("SELECT v.a FROM t AS v" if what == "trigger" else "SELECT a FROM seventeen")
        assert pool.stats.resets == 0
        pool.run(use)
        assert pool.stats.resets == 1
    finally:
        hidden.admin.query(show)


def test_a_schema_with_only_procedures_is_not_reset(open_pool: OpenPool, hidden: Scratch) -> None:
    name = hidden.account.name
    hidden.admin.query(f"CREATE PROCEDURE {name}.p () SELECT 1")
    try:
        pool = open_pool(scratch=hidden)
        pool.run("SELECT a FROM t")
        assert pool.stats.resets == 0
    finally:
        hidden.admin.query(f"DROP PROCEDURE {name}.p")


def test_a_trigger_of_a_database_whose_triggers_one_cannot_see(
    open_pool: OpenPool, hidden: Scratch
) -> None:
    name, run = hidden.account.name, hidden.admin.query
    other = f"{name}other"
    run(f"CREATE DATABASE {other}")
    try:
        run(f"CREATE TABLE {other}.t (a INT)")
        run(f"CREATE TRIGGER {other}.tr BEFORE INSERT ON {other}.t FOR EACH ROW SET @leak = 1")
        run(f"GRANT SELECT, INSERT ON {other}.* TO '{name}'@'%'")
        pool = open_pool(scratch=hidden)
        for statement in (
            f"INSERT INTO {other}.t VALUES (1)",
            f"INSERT INTO {other}.t SELECT 1",
            f"INSERT INTO `{other}`.`t` VALUES (1)",
        ):
            pool.run(statement)
            assert pool.fetch("SELECT @leak") is None, statement
    finally:
        run(f"REVOKE SELECT, INSERT ON {other}.* FROM '{name}'@'%'")
        run(f"DROP DATABASE {other}")


def test_privileges_of_others_do_not_make_ones_own_triggers_visible(
    open_pool: OpenPool, hidden: Scratch
) -> None:
    """With SELECT on mysql.* an account sees everybody's privileges."""
    name, run = hidden.account.name, hidden.admin.query
    run(f"REVOKE TRIGGER ON {name}.* FROM '{name}'@'%'")
    run(f"GRANT SELECT ON mysql.* TO '{name}'@'%'")
    run(f"CREATE TRIGGER {name}.tr BEFORE INSERT ON {name}.t FOR EACH ROW SET @leak = 1")
    try:
        pool = open_pool(scratch=hidden)
        pool.run("INSERT INTO t (a) VALUES (1)")
        assert pool.fetch("SELECT @leak") is None
    finally:
        run(f"DROP TRIGGER {name}.tr")
        run(f"REVOKE SELECT ON mysql.* FROM '{name}'@'%'")
        run(f"GRANT TRIGGER ON {name}.* TO '{name}'@'%'")


@pytest.mark.parametrize("what", ["view", "trigger"])
@pytest.mark.usefixtures("locks")
def test_code_hidden_by_the_pools_own_borrower_counts_at_once(
    open_pool: OpenPool, hidden: Scratch, what: str
) -> None:
    hide, show, use = (sql.format(hidden.account.name) for sql in HIDING[what])
    pool = open_pool(scratch=hidden)
    pool.run("SELECT a FROM t")
    pool.run(hide)
    try:
        resets = pool.stats.resets
        pool.run("SELECT a FROM seventeen")
        assert pool.stats.resets == resets
        pool.run(use)
        assert pool.stats.resets == resets + 1
    finally:
        hidden.admin.query(show)


# Some are no built-ins of one of the servers; with a blank, most of them are names like others.
LIKE_BUILT_INS = (
    "abs", "adddate", "any_value", "bin_to_uuid", "bit_and", "cast", "coalesce", "concat", "count",
    "curdate", "date_add", "date_format", "dense_rank", "extract", "first_value", "greatest",
    "group_concat", "grouping", "is_uuid", "json_arrayagg", "json_compact", "json_detailed",
    "json_pretty", "json_query", "lag", "lateral", "max", "md5", "mid", "min", "now", "of",
    "percentile_cont", "point", "position", "rank", "regexp_like", "row_number", "session_user",
    "sha1", "std", "substr", "substring", "sum", "sysdate", "trim", "uuid_to_bin", "variance",
    "version", "within",
)  # fmt: skip


def test_a_function_named_like_a_built_in_leaves_nothing(
    open_pool: OpenPool, hidden: Scratch
) -> None:
    name, run = hidden.account.name, hidden.admin.query
    leaks = []
    for number, function in enumerate(LIKE_BUILT_INS):
        try:
            run(
                f"CREATE FUNCTION {name}.`{function}` () RETURNS INT NO SQL"
                " BEGIN SET @leak = 1; RETURN 1; END"
            )
        except DriverError:
            continue  # a name that can't be taken
        try:
            pool = open_pool(scratch=hidden, ping_after=100 + number)  # one that asks anew
            for call in (f"{function}()", f"{function} ()", f"{function.upper()}\n()"):
                with suppress(DatabaseError):
                    pool.run(f"SELECT {call}")
                if pool.fetch("SELECT @leak") is not None:
                    leaks.append(call)
        finally:
            run(f"DROP FUNCTION {name}.`{function}`")
    assert leaks == []


def test_the_account_of_these_tests_hides_nothing(open_pool: OpenPool, hidden: Scratch) -> None:
    """Else the tests above would pass without a reason."""
    pool = open_pool(scratch=hidden)
    pool.run("INSERT INTO numbers (a) VALUES (1)")
    pool.run("SELECT a FROM t")
    assert pool.stats.resets == 0
