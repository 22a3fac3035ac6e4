"""What the statements of :mod:`~tests.isolation.fuzz.sql` use."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import MySQLdb
from MySQLdb import Error

from pooldaemon.pool.drivers.mysql.sql.catalogue import ask_all, find_suspects
from pooldaemon.pool.drivers.mysql.sql.classify import Classifier
from pooldaemon.pool.drivers.mysql.sql.suspects import Suspects
from tests.isolation.fuzz.batches import Judges
from tests.mysql.scratch import Account, Scratch
from tests.support.server import Admin

LEAVE = "BEGIN SET @leak = 1; RETURN GET_LOCK('leak', 0); END"

# Functions that leave something, whatever they are called.
LEAVING = (
    "leave_it", "`leave it`", "`leave``it`", "`leave.it`", "`12`",
    "`1e5`", "`0x1`", "`1a`", "`leäve`", "`$leave`", "`x`", "`fine\xa0`",
)  # fmt: skip

PACKAGE = (
    "CREATE PACKAGE {schema}.pkg AS FUNCTION leave_it RETURN INT; END",
    "CREATE PACKAGE BODY {schema}.pkg AS FUNCTION leave_it RETURN INT AS "
    + LEAVE.replace("; END", "; END; END"),
)


@contextmanager
def schema(scratch: Scratch, *, mariadb: bool) -> Iterator[str]:
    """Its name; besides the tables of all tests it has functions, a procedure and a sequence."""
    name, run = scratch.account.name, scratch.admin.query
    # By the account itself: only a function's definer is shown its body.
    with Admin(scratch.account.url) as itself:
        itself.query(f"USE {name}")
        itself.query("CREATE TABLE words LIKE t")
        for function in LEAVING:
            itself.query(f"CREATE FUNCTION {function} () RETURNS INT NO SQL {LEAVE}")
        itself.query("CREATE FUNCTION fine (a INT) RETURNS INT DETERMINISTIC RETURN a + 1")
        itself.query("CREATE PROCEDURE leaves () SET @leak = 1")
        if mariadb:
            itself.query("CREATE SEQUENCE s")
            itself.query("SET sql_mode = 'ORACLE'")
            for statement in PACKAGE:
                itself.query(statement.format(schema=name))
    try:
        yield name
    finally:
        for function in (*LEAVING, "fine"):
            run(f"DROP FUNCTION {name}.{function}")
        run(f"DROP PROCEDURE {name}.leaves")
        run(f"DROP TABLE {name}.words")
        if mariadb:
            run(f"DROP SEQUENCE {name}.s")
            with suppress(Error):
                run(f"DROP PACKAGE {name}.pkg")


def suspects_of(account: Account, *, mariadb: bool) -> Suspects:
    """What a pool of this account would find out."""
    connection = MySQLdb.connect(
        host=account.host,
        port=account.port,
        user=account.user,
        password=account.password,
        database=account.name,
        charset="utf8mb4",
    )

    def ask(question: str) -> Any:
        connection.query(question)
        return connection.store_result().fetch_row(0)

    with closing(connection):
        return find_suspects(ask_all(account.name, mariadb=mariadb, ask=ask))


def judges_by(suspects: Suspects) -> Judges:
    """Pools' classifiers that know of these *suspects*."""
    return {
        only_ascii: Classifier(suspects, only_ascii=only_ascii).judge
        for only_ascii in (False, True)
    }
