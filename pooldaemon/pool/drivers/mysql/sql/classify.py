"""Which statements provably leave nothing behind on a MySQL or MariaDB session.

No list of dirty statements could be complete: a view may call a function that sets a variable. So
only the opposite is proven. A statement is *clean* only if it is a single plain SELECT, INSERT,
UPDATE, DELETE or REPLACE that names no variable and calls only built-in functions and functions
proven harmless. A statement that is not understood counts as dirty: that costs a reset and never
leaks anything. The text does not show what triggers, views and functions do. So a statement that
names one of the :mod:`~pooldaemon.pool.drivers.mysql.sql.suspects` is dirty, too.

A single regular expression reads the statement from left to right and never goes back, so a
statement of megabytes costs milliseconds.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pooldaemon.pool.drivers.mysql.sql.grammar import (
    BLANK,
    CALLABLE,
    COMMENT,
    END,
    FORBIDDEN_NAMES,
    FORBIDDEN_WORDS,
    GAP,
    NUMBER,
    OPERATOR,
    PLACEHOLDER,
    QUOTED,
    STRING,
    TABLES_OF_THE_SERVER,
    WORD,
    lowered,
    one_of,
)
from pooldaemon.pool.drivers.mysql.sql.suspects import NONE, Names, Suspects

MAX_CACHED_LENGTH = 4096
"""Longer statements (bulk inserts) are judged anew each time rather than kept in memory."""

MAX_VERDICTS = 4096
"""When this many verdicts are cached, all are dropped: cheaper than to order them by use."""

MAX_COMMENTED = 64
"""The same for statements with comments inside, each of which may be unique."""

SHOWN_SHAPE = 200
"""Characters of a shape that are shown; the rest is cut off."""

DIRTY, READS, WRITES, SAVEPOINT = 0, 1, 2, 4
"""Verdicts. All but ``DIRTY`` are clean. A savepoint ends with its transaction, and another check
makes sure that the transaction has ended."""

# A tuple among the parameters brings its own parentheses, so "get_lock %s" is a call as well.
_CALL = rf"{GAP}(?:\(|{PLACEHOLDER})"

_ANY_NAME = rf"(?:[\w$]++|{QUOTED})"
_RESERVED = FORBIDDEN_NAMES | TABLES_OF_THE_SERVER.keys()
_NAME = (
    rf"(?:(?!{one_of(FORBIDDEN_WORDS | _RESERVED)}){WORD}"
    rf"|(?![`\"](?:{'|'.join(sorted(_RESERVED))})[`\"]){QUOTED})"
)


def _quoted_or_not(*names: str) -> str:
    return f"(?:{one_of(names)}|`(?:{'|'.join(names)})`)"


_OF_THE_SERVER = "|".join(
    rf"{_quoted_or_not(schema)}{GAP}\.{GAP}{_quoted_or_not(*tables)}(?!{_CALL})"
    for schema, tables in TABLES_OF_THE_SERVER.items()
)

# A list of columns after a table or the name of a WITH looks like the arguments of a function.
_COLUMNS = (
    rf"(?:{one_of(('insert', 'replace'))}{GAP}(?:{one_of(('ignore',))}{GAP})?{one_of(('into',))}"
    rf"|{one_of(('with',))}(?:{GAP}{one_of(('recursive',))})?)"
    rf"{GAP}{_NAME}(?:{GAP}\.{GAP}{_NAME})?(?={GAP}\()"
)
_VERBS = one_of(("select", "insert", "update", "delete", "replace", "with"))
_START = rf"(?:{BLANK}|{COMMENT}|\()*+(?:{_COLUMNS}|(?={_VERBS}))"

_BLANKS = " \t\n\r\v\f"

# What most of a long statement consists of.
_LIST = r"(?:[ ,()=]++|%s(?![\w$( ])|'[^'\\%]*+'|\d++(?:\.\d++)?(?![\w$.]))++"

_SAVEPOINT = re.compile(rf"(?:rollback{BLANK}+to{BLANK}+|release{BLANK}+)?savepoint{BLANK}+`\w+`")

# Comments before a statement, where tracing puts them.
_LEADING = re.compile(rf"(?:{BLANK}|{COMMENT})++")
_COMMENT = re.compile(COMMENT)

# In a clean statement, each quote begins or ends one of these.
_DATA_AND_NAMES = re.compile(rf"(?<![\w$]){_LIST}|{STRING}|{COMMENT}|({QUOTED})")

_WRITES_SOMETHING = re.compile(
    rf"(?<![\w$.])(?:{one_of(('update', 'delete'))}|{one_of(('insert', 'replace'))}(?!{GAP}\())"
)

# What the shape of a statement leaves out: comments and literals, which may be cut off. Names
# stay.
_HIDDEN = re.compile(
    r"""(?P<comment>/\*.*?(?:\*/|\Z) | \#[^\n]* | --(?=\s|\Z)[^\n]*)
    | `[^`]*(?:`|\Z)
    | (?P<literal>'[^']*(?:'|\Z) | "[^"]*(?:"|\Z) | (?<![\w$])\.?\d[\w.]*)""",
    re.VERBOSE | re.DOTALL,
)


@lru_cache(maxsize=64)
def plain(functions: Names = frozenset()) -> re.Pattern[str]:
    """A pattern that fully matches a plain statement, which may call these *functions*."""
    called = "|".join(_function(*each) for each in sorted(functions))
    parts = (
        _LIST,
        rf"{BLANK}++",
        *([rf"(?:{called})(?={GAP}\()"] if called else ()),
        rf"{_NAME}(?!{_CALL})",
        rf"{one_of(CALLABLE)}(?={_CALL})",
        _OF_THE_SERVER,
        STRING,
        NUMBER,
        # Not before a function of another schema, or of a package in it.
        rf"\.(?!{GAP}{_ANY_NAME}(?:{GAP}\.{GAP}{_ANY_NAME})?{_CALL})",
        rf"{PLACEHOLDER}(?!{GAP}\()",
        COMMENT,
        OPERATOR,
    )
    return re.compile(rf"{_START}(?:{'|'.join(parts)})*+")


def _function(schema: str, name: str) -> str:
    qualified = rf"(?:{_spelled(schema)}{GAP}\.{GAP})" if schema else ""
    return qualified + _spelled(name)


def _spelled(name: str) -> str:
    name = re.escape(lowered(name))
    return rf"(?:{name}{END}|`{name}`)"


class Classifier:
    """Judges statements and caches its verdicts. Thread-safe.

    :param suspects: names of objects that may leave something on the session.
    :param only_ascii: treat statements with other characters as dirty, because the server may read
        them in another way.
    """

    def __init__(self, suspects: Suspects = NONE, *, only_ascii: bool = False) -> None:
        self.suspects = suspects
        self._only_ascii = only_ascii
        self._is_plain = plain(suspects.functions).fullmatch
        self._verdicts: dict[str | bytes, int] = {}
        self._commented: dict[str | bytes, int] = {}

    def judge(self, statement: str | bytes) -> int:
        """``READS``, ``WRITES`` or ``SAVEPOINT`` if *statement* provably leaves the session as it
        found it, else ``DIRTY``.

        Pass the template, without parameters, where there is one. Parameters become literals, which
        can't change the verdict, and a template is judged only once.
        """
        verdict = self._verdicts.get(statement)
        return self._judge_new(statement) if verdict is None else verdict

    def _judge_new(self, statement: str | bytes) -> int:
        text = statement
        if isinstance(text, bytes):
            if not text.isascii():
                return DIRTY  # in some character sets the second byte of a letter is a quote
            text = text.decode("ascii")
        known, most = self._verdicts, MAX_VERDICTS
        if "/*" in text or "#" in text or "--" in text:
            text = _without_edges(text)
            if (verdict := known.get(text)) is not None:
                return verdict
            if "/*" in text or "#" in text or "--" in text:
                known, most = self._commented, MAX_COMMENTED
        if (verdict := known.get(text)) is None:
            verdict = self._judge_text(lowered(text))
            if len(text) <= MAX_CACHED_LENGTH:
                if len(known) >= most:
                    known.clear()
                known[text] = verdict
        return verdict

    def _judge_text(self, text: str) -> int:
        text = text.strip(_BLANKS)
        if _SAVEPOINT.fullmatch(text):
            return SAVEPOINT
        if self.suspects.anything or (self._only_ascii and not text.isascii()):
            return DIRTY
        if not self._is_plain(text):
            return DIRTY
        # Usually the verb is the first word.
        writes = bool(
            _WRITES_SOMETHING.match(text)
            or (
                any(verb in text for verb in ("insert", "update", "delete", "replace"))
                and _WRITES_SOMETHING.search(_DATA_AND_NAMES.sub(" ", text))
            )
        )
        if not self.suspects.is_empty and self.suspects.are_named(
            _DATA_AND_NAMES.sub(r"\1 ", text), writes=writes
        ):
            return DIRTY
        return WRITES if writes else READS


judge = Classifier().judge
"""Judges by the text alone."""


def _without_edges(text: str) -> str:
    """*text* without the comments before and after it.

    It is safe to cut off the last comment although the text before it has not been checked yet: if
    that text is clean, all its quotes are closed, so the comment does not begin inside one.
    """
    if leading := _LEADING.match(text):
        text = text[leading.end() :]
    text = text.rstrip(_BLANKS)
    if text.endswith("*/") and _COMMENT.fullmatch(text, start := text.rfind("/*")):
        line = text[text.rfind("\n", 0, start) + 1 : start]
        if "#" not in line and "--" not in line:  # else it may be within a comment of one line
            text = text[:start].rstrip(_BLANKS)
    return text


def shape(statement: str | bytes) -> str:
    """*statement* without its data, on one line, for logs.

    Whether a backslash escapes the next quote depends on the session's ``sql_mode``. A wrong guess
    would show the data of the next literal. So the shape ends at the first backslash.
    """
    text = statement.decode("latin-1") if isinstance(statement, bytes) else statement
    text, backslash, _ = text.partition("\\")
    shown = " ".join(_HIDDEN.sub(_without_data, text).split())
    return f"{shown[:SHOWN_SHAPE]} …" if backslash or len(shown) > SHOWN_SHAPE else shown


def _without_data(found: re.Match[str]) -> str:
    if found["comment"]:
        return " "
    return "?" if found["literal"] else found[0]
