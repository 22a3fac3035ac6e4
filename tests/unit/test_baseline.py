"""What of a session's set-up is sent again after a reset, and how a variable's value is written."""

from typing import Any, cast

import MySQLdb
import pytest

from pooldaemon.pool.drivers.mysql import baseline
from pooldaemon.pool.drivers.mysql.connection import PooledConnection


class Session:
    """One whose account has these grants, and which answers some statements with an error."""

    broken = False

    def __init__(self, *grants: str, **errors: int) -> None:
        self.grants = [(grant,) for grant in grants]
        self.errors = errors
        self.asked: list[str] = []

    def rows_of(self, question: str) -> Any:
        self.asked.append(question)
        return self.grants

    def ask_aside(self, statement: str) -> None:
        for part, number in self.errors.items():
            if part in statement:
                raise MySQLdb.OperationalError(number, "refused")

    def next_result(self) -> int:
        return -1


def repeated(init_connect: str, *grants: str) -> list[str]:
    return baseline._of_init_connect(cast(PooledConnection, Session(*grants)), init_connect)


USAGE = "GRANT USAGE ON *.* TO `shop`@`%` IDENTIFIED BY PASSWORD '*24236E8C'"

BY_VALUE = [
    "",
    "SET time_zone = '+05:00'",
    "set @@session.time_zone = '+05:00', sql_notes = 0 ;; ",
    "SET SESSION TRANSACTION READ ONLY",
    "SET NAMES latin1; SET lc_time_names = 'de_DE'",
    "INSERT INTO log VALUES (NOW(), 'a;b')",
    "INSERT INTO log VALUES (NOW()); SET time_zone = '+05:00'",
]


@pytest.mark.parametrize("init_connect", BY_VALUE)
def test_what_only_sets_variables_is_not_repeated(init_connect: str) -> None:
    session = Session(USAGE)
    assert baseline._of_init_connect(cast(PooledConnection, session), init_connect) == []
    assert session.asked == []


@pytest.mark.parametrize(
    ("init_connect", "parts"),
    [
        ("SET @a = 1", ["SET @a = 1"]),
        ("SET @a = 'x;y'; CALL p('it''s;')", ["SET @a = 'x;y'", "CALL p('it''s;')"]),
        ("SET time_zone = '+05:00'; CALL p()", ["SET time_zone = '+05:00'", "CALL p()"]),
        ("CALL p() /* ; */; INSERT INTO log VALUES (1)", ["CALL p() /* ; */"]),
        ("SET time_zone = zone_of(CURRENT_USER())", ["SET time_zone = zone_of(CURRENT_USER())"]),
        ("SET ROLE reader", ["SET ROLE reader"]),
        ("SET TRANSACTION READ ONLY", ["SET TRANSACTION READ ONLY"]),
    ],
)
def test_all_else_is(init_connect: str, parts: list[str]) -> None:
    assert repeated(init_connect, USAGE) == parts


@pytest.mark.parametrize(
    "grant",
    [
        "GRANT ALL PRIVILEGES ON *.* TO `shop`@`%` WITH GRANT OPTION",
        "GRANT SELECT, SUPER ON *.* TO `shop`@`%`",
        "GRANT SELECT, CONNECTION ADMIN ON *.* TO `shop`@`%`",
        "GRANT BACKUP_ADMIN,CONNECTION_ADMIN ON *.* TO `shop`@`%`",
    ],
)
def test_nothing_is_for_an_account_that_the_server_spares(grant: str) -> None:
    assert repeated("SET @a = 1", USAGE, grant) == []


@pytest.mark.parametrize(
    "grant",
    ["GRANT ALL PRIVILEGES ON `shop`.* TO `shop`@`%`", "GRANT SELECT ON *.* TO `super`@`%`"],
)
def test_other_rights_spare_nobody(grant: str) -> None:
    assert repeated("SET @a = 1", USAGE, grant) == ["SET @a = 1"]


@pytest.mark.parametrize(
    ("shown", "literals"),
    [
        ("28800", ["28800", "'28800'"]),
        ("-1.50", ["-1.50", "'-1.50'"]),
        ("ON", ["'ON'"]),
        ("it's", ["'it''s'"]),
        ("", ["''", "NULL"]),
        (None, ["DEFAULT"]),
    ],
)
def test_how_a_shown_value_is_written(shown: str | None, literals: list[str]) -> None:
    assert baseline._literals(shown) == literals


def test_a_statement_that_was_interrupted_may_be_possible() -> None:
    session = cast(PooledConnection, Session(refused=1238, killed=1317))
    assert baseline._can_run(session, "SET a = 1")
    assert not baseline._can_run(session, "SET refused = 1")
    with pytest.raises(MySQLdb.OperationalError):
        baseline._can_run(session, "SET killed = 1")
