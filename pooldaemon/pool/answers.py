"""Questions about earlier statements.

The session answers for ``LAST_INSERT_ID()``, ``FOUND_ROWS()``, ``ROW_COUNT()`` and warnings, partly
even across a reset. Nobody is to be told of an earlier borrower's statements: the answers are
overwritten before a statement that may ask; no clean one can.

In transaction mode the borrower's own earlier statement may have run on another session. There a
question goes out only if something that its borrower did since it borrowed settles the answer. What
settles it was tried on MariaDB 10.11 and MySQL 9.7.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from pooldaemon.exceptions import EarlierStatementError
from pooldaemon.pool.statements import READS, WRITES, shape


class Session(Protocol):
    """What is looked at of a :class:`~pooldaemon.pool.connection.PooledConnection`."""

    dirty: bool
    ran: int
    foreign_results: bool
    told_ids: set[int]
    id_was_zeroed: bool
    last_statement: bytes | str

    def warning_count(self) -> int: ...
    def ask_aside(self, statement: str) -> Any: ...


OVERWRITE_ALL = "SELECT LAST_INSERT_ID(0) FROM (SELECT 1) AS one"
"""From a table, if only a derived one: MariaDB keeps earlier warnings over a SELECT without."""

OVERWRITE_ALL_BUT_ID = "SELECT 1 FROM (SELECT 1) AS one"

OVERWRITE_ID = "SET SESSION last_insert_id = 0"

# What asks for the last generated id, or sets it.
_NAMES_ID = re.compile(rb"\b(?:last_insert_id|identity)\b", re.IGNORECASE)

# What may ask for any of it unseen.
_ASKS_UNSEEN = re.compile(rb"\b(?:call|execute)\b", re.IGNORECASE)
_ALL = frozenset({"id", "found", "warnings"})

# A cheap look at the text with its data; what is found is looked at more closely.
_SUSPECT = re.compile(
    rb"last_insert_id|identity|insert_id|found_rows|row_count|warning|error|diagnostics",
    re.IGNORECASE,
)

# Comments and literals. What servers run of a comment is none.
_HIDDEN = re.compile(
    r"""/\*(?!M?!).*?(?:\*/|\Z) | \#[^\n]* | --(?=\s|\Z)[^\n]*
    | '(?:[^'\\]|\\.)*(?:'|\Z) | "(?:[^"\\]|\\.)*(?:"|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_RUN_COMMENT = re.compile(r"/\*M?!\d*")

_VARIABLE = r"@@(?:(?:session|local)\s*\.\s*)?`?"
_QUESTIONS = re.compile(
    rf"""
    (?P<id>last_insert_id\s*\(\s*\) | {_VARIABLE}(?:last_insert_id|insert_id|identity)\b)
    | (?P<found>found_rows\s*\()
    | (?P<count>row_count\s*\()
    | (?P<warnings>show\s+(?:count\s*\(\s*\*\s*\)\s*)?(?:warnings|errors)\b
        | get\s+(?:current\s+|stacked\s+)?diagnostics\b
        | {_VARIABLE}(?:warning|error)_count\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)

# On MariaDB these leave the warnings of the statement before: SET, DO, savepoints, and a SELECT
# from no table.
_LEAVES_WARNINGS = re.compile(
    r"\s*(?:set|do|savepoint|release|rollback)\b | (?!.*\bfrom\b)\s*select\b",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def forget_foreign(session: Session, statement: bytes | bytearray = b"") -> None:
    """Make sure that *statement* is told nothing of an earlier borrower's statements."""
    if not session.ran & (READS | WRITES):
        session.foreign_results = False
        session.id_was_zeroed = True
        session.ask_aside(OVERWRITE_ALL)
        return
    # What the borrower's own statements have not overwritten by now.
    asked = _ALL if _ASKS_UNSEEN.search(statement) else _asked(statement)
    if _NAMES_ID.search(statement):
        asked |= {"id"}
    if "count" in asked and session.ran & WRITES:
        return  # whatever overwrites another answer would take this one, which is the borrower's
    foreign = _unsettled(session, asked)
    if "id" in foreign:
        session.id_was_zeroed = True
        session.ask_aside(OVERWRITE_ID if len(foreign) == 1 else OVERWRITE_ALL)
    elif foreign:
        session.ask_aside(OVERWRITE_ALL_BUT_ID)


def refuse_unsettled(session: Session, statement: bytes | bytearray) -> None:
    """For transaction mode.

    :raises EarlierStatementError: *statement* asks about an earlier one, and its answer may be
        about somebody else's, or not about the borrower's last.
    """
    if _unsettled(session, _asked(statement)):
        raise EarlierStatementError(_told(shape(bytes(statement))))


def refuse_result(session: Session, name: str) -> None:
    """The same for *name*, a method of the driver's that tells of the last statement."""
    # An id stays with the client library until the next statement that could have made one.
    if not (session.dirty or session.ran & (WRITES if name == "insert_id" else -1)):
        raise EarlierStatementError(_told(f"{name}()"))


def _asked(statement: bytes | bytearray) -> frozenset[str]:
    if not _SUSPECT.search(statement):
        return frozenset()
    return frozenset(
        str(found.lastgroup) for found in _QUESTIONS.finditer(_without_data(statement))
    )


def _unsettled(session: Session, asked: frozenset[str]) -> set[str]:
    return {each for each in asked if not _is_settled(session, each, alone=len(asked) == 1)}


def _is_settled(session: Session, question: str, *, alone: bool) -> bool:
    if not (session.dirty or session.ran):
        return False
    if question == "id":
        # The client library was told of each generated one; of one given by hand, too.
        if not alone:  # to look first would change the other answers
            return bool(session.told_ids)
        row = session.ask_aside("SELECT LAST_INSERT_ID()").fetch_row()[0]
        return row[0] in session.told_ids or bool(row[0] and session.id_was_zeroed)
    if question == "found":
        return bool(session.ran & READS)
    if question == "warnings" and not (session.ran & WRITES or session.warning_count()):
        return not _LEAVES_WARNINGS.match(_without_data(session.last_statement))
    return True


def _without_data(statement: bytes | bytearray | str) -> str:
    text = statement if isinstance(statement, str) else statement.decode("latin-1")
    return _RUN_COMMENT.sub(" ", _HIDDEN.sub(" ", text))


def _told(question: str) -> str:
    return (
        "In transaction mode the statement that this asks about may have run on another session: "
        f"{question}. Run both inside transaction.atomic() or connection.pinned()."
    )
