"""A session that is used without a pool, and compared: whatever is left on it shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import MySQLdb
from MySQLdb import Error

from tests.isolation.state import IN_TRANSACTION, USER_VARIABLES, VOLATILE
from tests.mysql.scratch import Account
from tests.support.behind_router import SHARING

SECRET = 1734005001
"""What ``LAST_INSERT_ID()`` answers when a batch begins; no statement writes this number."""

# What FOUND_ROWS() and ROW_COUNT() answer.
FOUND, FIND = 4913, "SELECT SQL_CALC_FOUND_ROWS 1 FROM t AS x, t AS y, t AS z LIMIT 1"
CHANGED, CHANGE = 289, "INSERT INTO fuzzed (a) SELECT x.a FROM t AS x, t AS y"

# What a statement with this name in it asks for, and how the session comes to have an answer.
ANSWERS = {
    "last_insert_id": f"SELECT LAST_INSERT_ID({SECRET})",
    "identity": f"SELECT LAST_INSERT_ID({SECRET})",
    "found_rows": FIND,
    "row_count": CHANGE,
}

FILL = (
    "DELETE FROM fuzzed", "DELETE FROM numbers", "DELETE FROM t", "DELETE FROM words",
    f"INSERT INTO t VALUES {', '.join(f'({n}, {n})' for n in range(17))}",
    "INSERT INTO words SELECT * FROM t",
)  # fmt: skip

NOT_SENT = 0

# What the server counts of the statements that may be called clean. A function's body is counted
# too, but its SET of local variables is not.
ALLOWED = frozenset(
    {"select", "insert", "insert_select", "update", "update_multi", "delete", "delete_multi"}
    | {"replace", "replace_select", "savepoint", "rollback_to_savepoint", "release_savepoint"}
    | ({"show_warnings"} if SHARING else set())  # after an error the Router asks itself
)

# By whether it is MariaDB, where SHOW obeys the session's sql_select_limit.
VARIABLES = {
    True: "SELECT * FROM information_schema.session_variables LIMIT 100000",
    False: "SELECT * FROM performance_schema.session_variables",
}
COUNTERS = {
    True: "SELECT * FROM information_schema.session_status LIMIT 100000",
    False: "SHOW SESSION STATUS LIKE 'Com%'",  # not in performance_schema
}

LOST = frozenset({2006, 2013, 2055, 4031, 1927})

_ASKS = re.compile("|".join(ANSWERS), re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """
    :ivar text: as it is judged.
    :ivar parameters: what the driver puts in; ``None``: nothing, and a ``%`` is one.
    """

    text: str | bytes
    parameters: Any = None


@dataclass(frozen=True)
class Kind:
    """How a session is set up."""

    charset: str
    sql_mode: str
    autocommit: bool


@dataclass
class Count:
    """What became of the statements."""

    ran: int = 0
    refused: dict[int, int] = field(default_factory=dict)


class Lost(Exception):
    """The session has ended, in the middle of this statement."""


class Watched:
    """
    :param fill: statements that bring the tables back to what they were.
    """

    def __init__(
        self, account: Account, kind: Kind, *, mariadb: bool, fill: Sequence[str] = FILL
    ) -> None:
        self._mariadb = mariadb
        self._fill = fill
        self.kind = kind
        self.connection: Any = MySQLdb.connect(
            host=account.host,
            port=account.port,
            user=account.user,
            password=account.password,
            database=account.name,
            charset=kind.charset,
            autocommit=True,
            read_timeout=120,
        )
        self._literal = self.connection.literal
        limits = (
            "max_statement_time = 2, sql_select_limit = 50"
            if mariadb
            else "max_execution_time = 2000"
        )
        self._run(f"SET {limits}, innodb_lock_wait_timeout = 2")
        self._run(f"SET sql_mode = '{kind.sql_mode}'")
        self.connection.converter = {}  # what comes back is only searched
        self._known = self.state()

    def close(self) -> None:
        with suppress(Error):
            self.connection.close()

    def _run(self, statement: str | bytes) -> tuple[tuple[Any, ...], ...]:
        self.connection.query(statement)
        return self._rows()

    def _rows(self) -> tuple[tuple[Any, ...], ...]:
        result = self.connection.store_result()
        rows: tuple[tuple[Any, ...], ...] = result.fetch_row(0) if result else ()
        while self.connection.next_result() == 0:
            self.connection.store_result()
        return rows

    def differences_after(self, statements: Sequence[Statement], count: Count) -> dict[str, Any]:
        """Run them; what is otherwise than before, or came from others.

        :raises Lost: one of them has ended the session.
        """
        others: dict[str, Any] = {}
        for statement in self._fill:
            self._run(statement)
        if not self.kind.autocommit:
            self._run("START TRANSACTION")
        before = self._counters()
        for statement in statements:
            asks = isinstance(statement.text, str) and _ASKS.search(statement.text)
            if asks:
                self._run(ANSWERS[asks[0].lower()])
            rows = self._try(statement, count)
            if rows and self._has_answer(rows, bool(asks)):
                others["answer about an earlier statement"] = (statement, rows[:3])
        found = {
            f"command {name}": (before.get(name, 0), number)
            for name, number in self._counters().items()
            if number != before.get(name, 0) and name not in ALLOWED
        }
        found |= others
        for table in ("fuzzed", "numbers"):
            if self._run(f"SELECT 1 FROM {table} WHERE a LIKE '%{SECRET}%'"):
                found[f"secret in {table}"] = ("", SECRET)
        if not self.kind.autocommit:
            self._run("ROLLBACK")
        return found | self._changes()

    def _has_answer(self, rows: tuple[tuple[Any, ...], ...], asks: bool) -> bool:
        wanted = [b"%d" % SECRET] + ([b"%d" % FOUND, b"%d" % CHANGED] if asks else [])
        for row in rows:
            for value in row:
                if value is None:
                    continue
                text = value if isinstance(value, bytes) else str(value).encode()
                if wanted[0] in text or text in wanted:
                    return True
        return False

    def _try(self, statement: Statement, count: Count) -> tuple[tuple[Any, ...], ...]:
        """What it answers; nothing, if it is refused."""
        text, parameters = statement.text, statement.parameters
        try:
            sent = text if isinstance(text, bytes) else text.encode(self.connection.encoding)
            if parameters is not None:
                sent = sent % self._literals(parameters)
            rows = self._run(sent)
        except (UnicodeError, TypeError, ValueError, MySQLdb.ProgrammingError) as error:
            number = error.args[0] if isinstance(error, MySQLdb.Error) else NOT_SENT
            count.refused[number] = count.refused.get(number, 0) + 1
        except Error as error:
            number = error.args[0]
            if number in LOST:
                raise Lost(statement) from error
            count.refused[number] = count.refused.get(number, 0) + 1
        else:
            count.ran += 1
            return rows
        return ()

    def _literals(self, parameters: Any) -> Any:
        """As the driver's cursor makes them."""
        if isinstance(parameters, dict):
            return {key.encode(): self._literal(value) for key, value in parameters.items()}
        return tuple(map(self._literal, parameters))

    def _counters(self) -> dict[str, int]:
        rows = self._run(COUNTERS[self._mariadb])
        counters = {_text(name).lower(): value for name, value in rows}
        return {
            name[4:]: int(value)
            for name, value in counters.items()
            if name.startswith("com_") and name != "com_show_status"
        }

    def _changes(self) -> dict[str, Any]:
        found = self.state()
        known, self._known = self._known, found
        return {
            name: (known.get(name), found.get(name))
            for name in known.keys() | found.keys()
            if known.get(name) != found.get(name)
        }

    def state(self) -> dict[str, Any]:
        """All that can be asked for."""
        rows = self._run(VARIABLES[self._mariadb])
        state: dict[str, Any] = {
            name: value for key, value in rows if (name := _text(key).lower()) not in VOLATILE
        }
        ask: Callable[[str], Any] = lambda question: self._run(question)[0][0]  # noqa: E731
        state["in a transaction"] = ask(IN_TRANSACTION[self._mariadb])
        state["user variables"] = ask(USER_VARIABLES[self._mariadb])
        state["locks"] = ask("SELECT RELEASE_ALL_LOCKS()")
        state["database"] = ask("SELECT DATABASE()")
        state["role"] = ask("SELECT CURRENT_ROLE()")
        if self._mariadb:
            state["LASTVAL"] = ask("SELECT LASTVAL(s)")
        state["driver's autocommit"] = self.connection.get_autocommit()
        return state


def _text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)
