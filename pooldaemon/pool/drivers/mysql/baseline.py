"""The state in which the set-up of a session left it, and the way back there after a reset.

Django, ``OPTIONS``, receivers of ``connection_created``, an option file, the server's
``init_connect`` and the account may each have set something. What was sent from here is sent again.
The rest shows by what it did: before its first use the first of the sessions that are set up alike
is asked for its variables, and again after the first reset of one of them. What is missing then is
set by its value from now on; and if it can't be, these sessions are closed instead of reset.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

import MySQLdb

from pooldaemon.pool.drivers.mysql import client_library
from pooldaemon.pool.drivers.mysql.sql.classify import DIRTY, judge, shape
from pooldaemon.pool.drivers.mysql.sql.side_effects import Session

logger = logging.getLogger("pooldaemon.pool")

SET_UP = """
SELECT DATABASE(), @@character_set_client, @@collation_connection, @@session.sql_mode, @@autocommit,
  @@{isolation}, CURRENT_ROLE(), @@wait_timeout, @@global.init_connect{learned}
"""
"""What a reset loses, whoever set it; how long the session may idle; and what the server ran."""

OWN_VARIABLES = {
    True: """
SELECT LOWER(variable_name), session_value FROM information_schema.system_variables
WHERE variable_scope LIKE 'SESSION%'
  AND (NOT CAST(session_value AS BINARY) <=> CAST(global_value AS BINARY)
       OR variable_name IN ({names}))
UNION ALL SELECT CONCAT('@', variable_name), '' FROM information_schema.user_variables""",
    False: """
SELECT variable_name, s.variable_value FROM performance_schema.session_variables AS s
LEFT JOIN performance_schema.global_variables AS g USING (variable_name)
WHERE NOT CAST(s.variable_value AS BINARY) <=> CAST(g.variable_value AS BINARY)
  OR variable_name IN ({names})""",
}
"""By whether it is MariaDB: the variables that a session has otherwise than the server, with their
values, and those of the given names. MariaDB also shows which user variables there are (what is in
them may be new each time, such as ``NOW()``); MySQL shows these to few accounts."""

DATABASE, ROLE = "DATABASE()", "CURRENT_ROLE()"

PLACE = f"""
UNION ALL SELECT '{DATABASE}', {DATABASE}
UNION ALL SELECT '{ROLE}', {ROLE}
LIMIT 100000"""
"""The limit goes before the session's own, ``sql_select_limit``."""

VOLATILE = frozenset(
    # Clocks, and numbers that go on by themselves.
    {"timestamp", "rand_seed1", "rand_seed2", "pseudo_thread_id", "statement_id"}
    # About the last statements: see pooldaemon.pool.drivers.mysql.sql.last_result.
    | {"last_insert_id", "identity", "insert_id", "warning_count", "error_count"}
    | {"in_transaction", "last_gtid", "gtid_seq_no", "wsrep_gtid_seq_no"}
    # Who has logged in, which no reset changes.
    | {"external_user", "proxy_user"}
    # The account's limit. A reset shows the server's instead, and the server holds to it as before.
    | {"max_user_connections"}
)
"""Variables that nobody set up."""

MAX_BASELINES = 64
"""So many are known of a pool, then all are forgotten: of sessions that all differ, such as by a
receiver that gives each a name."""

MAX_FAILURES = 3
"""So often a baseline that never worked may fail, until it is said not to work: a lock that it
waits for may be held just then."""

INTERRUPTED = frozenset({1317, 1969, 3024})
"""Errors that say nothing about a statement: it was ended by a KILL QUERY or a limit of time."""

# How Django sets the isolation level, which is restored by its value.
_ISOLATION = re.compile(rb"SET SESSION TRANSACTION ISOLATION LEVEL [A-Z ]+")

# Assignments to the session's variables alone: nothing that has an effect elsewhere.
_SETS_VARIABLES = re.compile(
    r"set\s+(?!(?:role|default|password|statement|transaction|resource)\b)(?:[^@(]|@@)*",
    re.IGNORECASE,
)

# One statement of several: literals, quoted names and comments may hold a semicolon.
_STATEMENT = re.compile(
    r"""(?: '(?:[^'\\]|\\.)*(?:'|\Z) | "(?:[^"\\]|\\.)*(?:"|\Z) | `[^`]*(?:`|\Z)
    | /\*.*?(?:\*/|\Z) | \#[^\n]* | --(?=\s|\Z)[^\n]* | [^;] )+""",
    re.VERBOSE | re.DOTALL,
)

# Whom the server spares its init_connect.
_SPARED = re.compile(r"\b(?:SUPER|CONNECTION[ _]ADMIN|ALL PRIVILEGES)\b.* ON \*\.\* TO ")

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

Variables = dict[str, str]
Statements = list[str | bytes]


class Connection(Protocol):
    """What is asked of a ``PooledConnection``."""

    encoding: str
    broken: bool
    setup: list[bytes] | None
    wait_timeout: float
    baseline: Baseline
    went_elsewhere: bool

    def get_server_info(self) -> str: ...
    def rows_of(self, question: str) -> Any: ...
    def ask_aside(self, statement: bytes | str) -> Any: ...
    def store_result(self) -> Any: ...
    def next_result(self) -> int: ...


class Baseline:
    """What sessions of a pool have in common that were set up alike.

    :param again: statements of the set-up that have to be sent again.
    :param values: what one further statement sets, as in ``SET value, value``.
    :param elsewhere: statements for what seldom changes: role and current database.
    :param variables: those that the first such session had; ``None``: they are not compared.

    Thread-safe without a lock: what several threads find out at once is the same for all.
    """

    def __init__(
        self,
        pool: Baselines,
        again: Iterable[str | bytes] = (),
        values: Iterable[str] = (),
        elsewhere: Iterable[str] = (),
        variables: Variables | None = None,
    ) -> None:
        self._pool = pool
        self._again: Statements = list(again)
        self._values = list(values)
        self._elsewhere: Statements = list(elsewhere)
        self._variables = variables
        self._failures = 0
        self.lost: tuple[str, ...] = ()
        """What no reset brings back: these sessions are closed instead."""

    def restore(self, connection: Connection) -> None:
        """Bring *connection*, which has just been reset, back to its state after set-up.

        :raises MySQLdb.Error: that failed, and the session is of no use.
        """
        statements = self._again.copy()
        if self._values:
            statements.append(f"SET {', '.join(self._values)}")
        if connection.went_elsewhere:
            connection.went_elsewhere = False
            statements = self._elsewhere + statements
        for statement in statements:
            try:
                _run(connection, statement)
            except MySQLdb.Error as error:
                if not connection.broken and error.args[0] not in INTERRUPTED:
                    self._note_failure(statement, error)
                raise
        if self._variables is not None:
            self._compare(connection, self._variables)

    def _note_failure(self, statement: str | bytes, error: MySQLdb.Error) -> None:
        if self._variables is not None:
            self._failures += 1
            if self._failures == MAX_FAILURES:
                self._give_up([f"{shape(statement)} (error {error.args[0]})"])

    def _compare(self, connection: Connection, wanted: Variables) -> None:
        lost = _unlike(connection, wanted)
        if lost:
            for name in lost:
                self._bring_back(connection, name, wanted.get(name))
            # What the server itself gives each session after a reset nobody had set up.
            lost = [name for name in _unlike(connection, wanted) if name in wanted]
        self._variables = None
        if lost:
            self._give_up(lost)

    def _bring_back(self, connection: Connection, name: str, value: str | None) -> None:
        if name in {DATABASE, ROLE}:
            self._again = self._elsewhere + self._again
            self._elsewhere = []
            for statement in self._again:
                _run(connection, statement)
        elif not name.startswith("@"):
            for literal in _literals(value):
                assignment = f"SESSION {name} = {literal}"
                if _can_run(connection, f"SET {assignment}"):
                    self._values.append(assignment)
                    self._pool.learn(name)
                    return

    def _give_up(self, lost: list[str]) -> None:
        self._variables = None
        self.lost = tuple(sorted(lost))
        self._pool.warn_of(self.lost)


class Baselines:
    """The baselines of a pool. Thread-safe as they are.

    :param init_command: the driver's option of this name, which it runs out of our sight.
    :param compared: whether sessions are reset, so that it matters whether that loses anything.
    """

    def __init__(self, init_command: str = "", *, compared: bool = False) -> None:
        self._init_command = init_command
        self._compared = compared
        self._pool_name = ""
        self._known: dict[tuple[Any, ...], Baseline] = {}
        self._learned: tuple[str, ...] = ()
        """Variables that somebody sets unseen: each new session is asked for its own."""
        self._logged: set[tuple[str, ...]] = set()

    def record(self, connection: Connection, pool_name: str) -> Session:
        """End the set-up of a new session: remember what brings it back to this state.

        :returns: what it has in common with the others, whatever else was set up.
        """
        self._pool_name = pool_name
        setup, connection.setup = connection.setup or [], None
        ran = client_library.init_commands(connection)
        if ran is None:
            ran = [self._init_command.encode(connection.encoding)]
        learned, row = self._ask(connection)
        key = (connection.get_server_info(), connection.encoding, learned, row, *ran, *setup)
        baseline = self._known.get(key)
        if baseline is None:
            if len(self._known) >= MAX_BASELINES:
                self._known.clear()
            baseline = self._known[key] = self._begin(connection, [*ran, *setup], learned, row)
        connection.baseline = baseline
        connection.wait_timeout = row[7]
        return Session(row[0] or "", _is_mariadb(connection), row[1])

    def _ask(self, connection: Connection) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        learned = self._learned
        columns = "".join(f", @@session.{name}" for name in learned)
        question = SET_UP.format(
            isolation=variable_of_transactions(connection, "isolation"), learned=columns
        )
        try:
            return learned, connection.rows_of(question)[0]
        except MySQLdb.Error:
            if not learned:
                raise
        self._learned = ()  # another server may have other variables
        return self._ask(connection)

    def _begin(
        self,
        connection: Connection,
        setup: list[bytes],
        learned: tuple[str, ...],
        row: tuple[Any, ...],
    ) -> Baseline:
        database, charset, collation, sql_mode, autocommit, level, role, _, init_connect = row[:9]
        names = f"NAMES {charset} COLLATE {collation}"
        again: Statements = [*_of_init_connect(connection, init_connect or "")]
        again += [
            statement
            for each in setup
            if (statement := each.strip(b"; \t\r\n")) and not _ISOLATION.fullmatch(statement)
        ]
        if not all(statement.isascii() for statement in again):
            again.insert(0, f"SET {names}")  # a reset leaves the session with the server's
        values = [
            names,
            f"SESSION sql_mode = '{sql_mode}'",
            f"SESSION {variable_of_transactions(connection, 'isolation')} = '{level}'",
            f"SESSION autocommit = {autocommit:d}",
        ]
        values += [
            f"SESSION {name} = {_literal(value)}"
            for name, value in zip(learned, row[9:], strict=True)
        ]
        if role and _is_mariadb(connection):  # MySQL gives a list of roles, quoted already
            role = _quoted(role)
        elsewhere = [f"SET ROLE {role or 'NONE'}"]
        if database:
            elsewhere.append(f"USE {_quoted(database)}")
        variables = None
        if self._compared:
            with suppress(MySQLdb.Error):  # the set-up may have forbidden it, as by max_join_size
                variables = _variables(connection)
        return Baseline(self, again, values, elsewhere, variables)

    def learn(self, name: str) -> None:
        """*name* is a variable that the set-up sets without our seeing it."""
        if name not in self._learned:
            self._learned += (name,)

    def warn_of(self, lost: tuple[str, ...]) -> None:
        """Log once what a reset undoes and the pool can't restore."""
        if lost not in self._logged:
            self._logged.add(lost)
            logger.warning(
                "pool %s: a reset takes from a session what its set-up did and the pool can't do "
                "again: %s. So connections are closed where they would be reset.",
                self._pool_name,
                ", ".join(lost),
            )


NOTHING = Baseline(Baselines())
"""Of a session that is not set up yet."""


def _is_mariadb(connection: Connection) -> bool:
    return "MariaDB" in connection.get_server_info()


def variable_of_transactions(connection: Connection, name: str) -> str:
    """The name that the server has for ``transaction_``\\ *name*."""
    return f"tx_{name}" if _is_mariadb(connection) else f"transaction_{name}"


def _run(connection: Connection, statement: str | bytes) -> None:
    connection.ask_aside(statement)
    while connection.next_result() == 0:  # init_command alone may be several
        connection.store_result()


def _can_run(connection: Connection, statement: str) -> bool:
    """Run it, or see that the server refuses it."""
    try:
        _run(connection, statement)
    except MySQLdb.Error as error:
        if connection.broken or error.args[0] in INTERRUPTED:
            raise
        return False
    return True


def _variables(connection: Connection, names: Iterable[str] = ()) -> Variables:
    """Those that the session has otherwise than the server, and those of *names*."""
    known = ", ".join(f"'{name}'" for name in names if name.isidentifier()) or "''"
    question = OWN_VARIABLES[_is_mariadb(connection)].format(names=known) + PLACE
    rows = connection.rows_of(question)
    return {name: value or "" for name, value in rows if name not in VOLATILE}


def _unlike(connection: Connection, wanted: Variables) -> list[str]:
    """The names of those in which the session is not as *wanted*."""
    found = _variables(connection, wanted)
    return [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]


def _of_init_connect(connection: Connection, init_connect: str) -> list[str]:
    """What of the server's ``init_connect`` has to be sent again: all that is not clean, if any of
    it does more than set variables, which are set by their values."""
    parts = [found[0].strip() for found in _STATEMENT.finditer(init_connect)]
    parts = [part for part in parts if part and judge(part) == DIRTY]
    if all(_SETS_VARIABLES.fullmatch(part) for part in parts):
        return []
    if any(_SPARED.search(grant) for (grant,) in connection.rows_of("SHOW GRANTS")):
        return []
    return parts


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _literals(shown: str | None) -> list[str]:
    """How a variable's value may be written that the server shows so; ``None``: its default."""
    if shown is None:
        return ["DEFAULT"]
    return [
        *([shown] if _NUMBER.fullmatch(shown) else []),
        _literal(shown),
        *([] if shown else ["NULL"]),
    ]
