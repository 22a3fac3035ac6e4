"""Questions about earlier statements.

A session keeps the results of ``LAST_INSERT_ID()``, ``FOUND_ROWS()``, ``ROW_COUNT()`` and warnings,
some of them even across a reset. A borrower must not get those of an earlier borrower's statements.
So they are overwritten before a statement that may ask for them. A clean statement can't.

In transaction mode the borrower's own earlier statement may have run on another session. So such a
question is sent only if a statement that ran since the borrow determines the answer. Which
statements do was tested on MariaDB 10.11 and MySQL 9.7.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from pooldaemon.exceptions import EarlierStatementError
from pooldaemon.pool.drivers.mysql.sql.classify import DIRTY, READS, WRITES, judge, shape


class Session(Protocol):
    """The part of a ``PooledConnection`` that this module uses."""

    dirty: bool
    ran: int
    foreign_results: bool
    generated_ids: set[int]
    id_is_own: bool
    last_statement: bytes | str

    def escape_string(self, text: str) -> bytes: ...
    def warning_count(self) -> int: ...
    def ask_aside(self, statement: str) -> Any: ...


LAST_ID = "(SELECT LAST_INSERT_ID())"
"""In parentheses, because MySQL Router refuses this function without them where it shares
connections."""

OVERWRITE_ALL = "(SELECT LAST_INSERT_ID(0) FROM (SELECT 1) AS one)"
"""With a table, if only a derived one, because MariaDB keeps earlier warnings after a SELECT
without a table."""

OVERWRITE_ALL_BUT_ID = "SELECT 1 FROM (SELECT 1) AS one"

OVERWRITE_ID = "SET SESSION last_insert_id = 0"
"""This keeps ``FOUND_ROWS()``, and on MariaDB the warnings."""

# Names that ask for the last generated id, or set it.
_NAMES_ID = re.compile(r"\b(?:last_insert_id|identity)\b", re.IGNORECASE)

_ALL = frozenset({"id", "found", "warnings"})

# A cheap search in the statement with its data. Where it finds something, _asked() looks closer.
_SUSPECT = re.compile(
    rb"last_insert_id|identity|found_rows|row_count|warning|error|diagnostics|variables",
    re.IGNORECASE,
)

# Comments, literals and quoted names. A comment that the server runs (/*! … */) is none. In the
# mode ANSI_QUOTES a name may be in double quotes; the characters next to it show that.
_PARTS = r"""(?P<run>/\*M?!\d* | \*/) | (?P<comment>/\*.*?(?:\*/|\Z) | \#[^\n]* | --(?=\s|\Z)[^\n]*)
    | `(?P<quoted>\w+)` | `[^`]*(?:`|\Z)
    | (?<=[@.])"(?P<variable>\w+)" | "(?P<called>\w+)"(?=\s*\()
    | '(?:[^'{escape}]|{escaped})*(?:'|\Z) | "(?:[^"{escape}]|{escaped})*(?:"|\Z)"""
_WITH_ESCAPES, _WITHOUT_ESCAPES = (
    re.compile(_PARTS.format(escape=escape, escaped=escaped), re.VERBOSE | re.DOTALL)
    for escape, escaped in ((r"\\", r"\\."), ("", r"(?!)"))
)

_VARIABLE = r"@@\s*(?:(?:session|local)\s*\.\s*)?"
_QUESTIONS = re.compile(
    rf"""
    (?P<id>last_insert_id\s*\(\s*\) | {_VARIABLE}(?:last_insert_id|identity)\b)
    | (?P<found>found_rows\s*\()
    | (?P<count>row_count\s*\()
    | (?P<warnings>show\s+(?:count\s*\(\s*\*\s*\)\s*)?(?:warnings|errors)\b
        | get\s+(?:current\s+|stacked\s+)?diagnostics\b
        | {_VARIABLE}(?:warning|error)_count\b)
    | (?P<variables>show\s+(?:(?:session|local)\s+)?variables\b
        | \b(?:session_variables|system_variables|variables_by_thread)\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)

# The first variable that SET assigns to: that is no question.
_ASSIGNED = re.compile(rf"\A\s*set\s+{_VARIABLE}\w+\s*:?=", re.IGNORECASE)

# First words of statements that evaluate no expression, and of those that do so only in a SELECT.
_EVALUATES_NOTHING = frozenset(
    {"begin", "commit", "deallocate", "kill", "lock", "prepare", "release", "rollback"}
    | {"savepoint", "show", "start", "unlock", "use"}
)
_DEFINES = frozenset({"alter", "create", "drop", "grant", "revoke", "truncate"})

# A table that is named may be a view, or have triggers.
_NAMES_TABLE = re.compile(r"\b(?:from|join|into|table)\b", re.IGNORECASE)

_CALLS = re.compile(r"(\.?)\s*\b([\w$]+)\s*\(")
_QUOTED_CALL = re.compile(rb"""[`"]\s*\(""")

# Calls that ask nothing, or that _QUESTIONS finds.
_KNOWN_CALLS = frozenset(
    {"get_lock", "is_free_lock", "is_used_lock", "release_all_locks", "release_lock"}
    | {"found_rows", "last_insert_id", "row_count"}
)

MAX_LOOKED_AT = 10_000
"""Bytes. A longer statement is not examined: it is assumed to run stored code."""

# On MariaDB a statement that names no table keeps the warnings of the statement before.
_LEAVES_WARNINGS = re.compile(
    r"""\s*(?: (?:begin|commit|deallocate|do|explain|flush|help|kill|prepare|purge|release|reset
                 |rollback|savepoint|set|show|start|unlock|use|values)\b
           | (?!.*\bfrom\b)\s*[(\s]*select\b )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def forget_foreign(session: Session, statement: bytes | bytearray) -> None:
    """Make sure that *statement* gets no result of an earlier borrower's statements, and that an id
    that it may set counts as the borrower's."""
    asked = _asked(session, statement)
    if "count" in asked and session.ran & WRITES:
        return  # overwriting another result would overwrite ROW_COUNT(), which is the borrower's
    used = asked | _may_use(session, statement)
    if not used:
        return  # no need to send anything, which a proxy might refuse
    foreign = _unsettled(session, used - {"id"})
    if "id" in used and not _owns_id(session, looks=asked <= {"id"}):
        foreign.add("id")
        session.id_is_own = True
    if used >= _ALL:
        session.foreign_results = False
    if foreign == {"id"} and used != _ALL:
        session.ask_aside(OVERWRITE_ID)
    elif foreign:
        session.ask_aside(OVERWRITE_ALL if "id" in foreign else OVERWRITE_ALL_BUT_ID)


def forget_all(session: Session) -> None:
    """Overwrite all results on the server, and with them those that the client library keeps."""
    session.foreign_results = False
    session.id_is_own = True
    session.ask_aside(OVERWRITE_ALL)


def refuse_unsettled(session: Session, statement: bytes | bytearray) -> None:
    """In transaction mode, refuse a question whose answer may be about another statement.

    :raises EarlierStatementError: *statement* asks about an earlier one, which may have been
        another borrower's, or not the last of this borrower.
    """
    if _unsettled(session, _asked(session, statement)):
        raise EarlierStatementError(_message(shape(bytes(statement))))


def refuse_result(session: Session, name: str) -> None:
    """The same for *name*, a method of the driver that returns a result of the last statement."""
    # The client library keeps an id until the next statement that could generate one.
    if not (session.dirty or session.ran & (WRITES if name == "insert_id" else -1)):
        raise EarlierStatementError(_message(f"{name}()"))


def _asked(session: Session, statement: bytes | bytearray) -> frozenset[str]:
    if not _SUSPECT.search(statement):
        return frozenset()
    text = _ASSIGNED.sub(" ", _bare(session, statement))
    asked = {str(found.lastgroup) for found in _QUESTIONS.finditer(text)}
    if "variables" in asked:  # one of them is the id, which is then named in a literal
        asked.remove("variables")
        asked |= {"id"} if _NAMES_ID.search(statement.decode("latin-1")) else set()
    return frozenset(asked)


def _may_use(session: Session, statement: bytes | bytearray) -> frozenset[str]:
    """The results that *statement* may read without naming them, or may set."""
    if len(statement) > MAX_LOOKED_AT or _QUOTED_CALL.search(statement):
        return _ALL
    text = _bare(session, statement)
    if _runs_more(text):
        return _ALL
    if "variables" in text.lower():
        return frozenset({"id", "warnings"})
    return frozenset({"id"}) if _NAMES_ID.search(text) else frozenset()


def _runs_more(text: str) -> bool:
    """Whether a statement may run stored code: views, triggers, functions, procedures."""
    first, *_ = text.split(None, 1) or [""]
    first = first.lower()
    if ";" in text.rstrip("; \t\r\n"):
        return True
    if first in _EVALUATES_NOTHING:
        return False
    if first in _DEFINES:
        return "select" in text.lower()
    if first not in {"set", "select", "do"} or _NAMES_TABLE.search(text):
        return True
    return any(dot or not _is_known(name.lower()) for dot, name in _CALLS.findall(text))


def _is_known(name: str) -> bool:
    return name in _KNOWN_CALLS or judge(f"SELECT {name}(1)") != DIRTY


def _unsettled(session: Session, asked: frozenset[str]) -> set[str]:
    return {each for each in asked if not _is_settled(session, each, alone=len(asked) == 1)}


def _is_settled(session: Session, question: str, *, alone: bool) -> bool:
    """Whether a statement of the borrower determines the answer, and it is not empty."""
    if not (session.dirty or session.ran):
        return False
    if question == "id":
        if not alone:
            return bool(session.generated_ids)
        last = _last_id(session)
        return bool(last and session.id_is_own)
    if question == "found":
        return bool(session.ran & READS)
    if question == "warnings" and not (session.ran & WRITES or session.warning_count()):
        return not _LEAVES_WARNINGS.match(_bare(session, session.last_statement))
    return True


def _owns_id(session: Session, *, looks: bool) -> bool:
    """Whether ``LAST_INSERT_ID()`` returns the borrower's id.

    :param looks: the server may be asked, which overwrites the other results.
    """
    if not session.id_is_own and session.generated_ids:
        if not looks:
            return True
        _last_id(session)
    return session.id_is_own


def _last_id(session: Session) -> int:
    [(last,)] = session.ask_aside(LAST_ID).fetch_row()
    # The client library gets each generated id. It also gets one that an INSERT names itself, which
    # LAST_INSERT_ID() does not return.
    session.id_is_own = session.id_is_own or last in session.generated_ids
    return int(last)


def _bare(session: Session, statement: bytes | bytearray | str) -> str:
    """*statement* without data and comments, and with its names unquoted."""
    text = statement if isinstance(statement, str) else statement.decode("latin-1")
    # Whether a backslash escapes the next quote depends on the session's sql_mode, which the server
    # reports to the client library with each answer.
    escapes = "\\" not in text or session.escape_string("'") != b"''"
    return (_WITH_ESCAPES if escapes else _WITHOUT_ESCAPES).sub(_name_alone, text)


def _name_alone(part: re.Match[str]) -> str:
    return part["quoted"] or part["variable"] or part["called"] or " "


def _message(question: str) -> str:
    return (
        "In transaction mode the statement that this asks about may have run on another session: "
        f"{question}. Run both inside transaction.atomic() or connection.pinned()."
    )
