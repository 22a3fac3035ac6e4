"""Which statements provably leave nothing behind on a MySQL or MariaDB session.

Text can't prove that a session is dirty (a view may call a function that sets a variable),
so it is asked the other way round: a statement is *clean* only if it is one plain SELECT,
INSERT, UPDATE, DELETE or REPLACE that names no variable and calls nothing but built-in functions,
and functions proven harmless. Whatever is not understood counts as dirty, which costs a reset and
never a leak. What hides behind names (triggers, views, functions) is not visible in the text: a
statement that names one of the :mod:`~pooldaemon.pool.drivers.mysql.sql.suspects` is dirty, too.

A statement is read by one regular expression, from left to right and never back, so that one of
megabytes costs milliseconds.
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
"""So many verdicts are remembered, then all are forgotten: cheaper than to order them by use."""

MAX_COMMENTED = 64
"""The same for statements with comments inside, of which no two may be alike."""

SHOWN_SHAPE = 200
"""Longer shapes are cut."""

DIRTY, READS, WRITES, SAVEPOINT = 0, 1, 2, 4
"""Verdicts. Whatever is not dirty is clean. A savepoint ends with its transaction, and that the
transaction has ended is checked apart."""

# A tuple among the parameters brings its own parentheses: "get_lock %s" is a call as well.
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

# The columns of a table or of a WITH, whose name looks like that of a function.
_COLUMNS = (
    rf"(?:{one_of(('insert', 'replace'))}{GAP}(?:{one_of(('ignore',))}{GAP})?{one_of(('into',))}"
    rf"|{one_of(('with',))}(?:{GAP}{one_of(('recursive',))})?)"
    rf"{GAP}{_NAME}(?:{GAP}\.{GAP}{_NAME})?(?={GAP}\()"
)
_VERBS = one_of(("select", "insert", "update", "delete", "replace", "with"))
_START = rf"(?:{BLANK}|{COMMENT}|\()*+(?:{_COLUMNS}|(?={_VERBS}))"

_BLANKS = " \t\n\r\v\f"

# What long statements are made of.
_LIST = r"(?:[ ,()=]++|%s(?![\w$( ])|'[^'\\%]*+'|\d++(?:\.\d++)?(?![\w$.]))++"

_SAVEPOINT = re.compile(rf"(?:rollback{BLANK}+to{BLANK}+|release{BLANK}+)?savepoint{BLANK}+`\w+`")

# Comments before a statement, where tracing puts them.
_LEADING = re.compile(rf"(?:{BLANK}|{COMMENT})++")
_COMMENT = re.compile(COMMENT)

# Of a statement that is clean, each quote begins or ends one of these.
_DATA_AND_NAMES = re.compile(rf"(?<![\w$]){_LIST}|{STRING}|{COMMENT}|({QUOTED})")

_WRITES_SOMETHING = re.compile(
    rf"(?<![\w$.])(?:{one_of(('update', 'delete'))}|{one_of(('insert', 'replace'))}(?!{GAP}\())"
)

# For the shape of a statement: comments, and literals with their data, which may be cut off or
# hold escapes; names stay.
_HIDDEN = re.compile(
    r"""(?P<comment>/\*.*?(?:\*/|\Z) | \#[^\n]* | --(?=\s|\Z)[^\n]*)
    | `[^`]*(?:`|\Z)
    | (?P<literal>'[^']*(?:'|\Z) | "[^"]*(?:"|\Z) | (?<![\w$])\.?\d[\w.]*)""",
    re.VERBOSE | re.DOTALL,
)


@lru_cache(maxsize=64)
def plain(functions: Names = frozenset()) -> re.Pattern[str]:
    """What matches a plain statement as a whole, which may call these *functions*."""
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
        # A function of another schema, or of a package of it.
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
    """Judges statements, and remembers its verdicts. Thread-safe.

    :param suspects: the names that may hide something.
    :param only_ascii: of other characters it is not known how the server reads them.
    """

    def __init__(self, suspects: Suspects = NONE, *, only_ascii: bool = False) -> None:
        self.suspects = suspects
        self._only_ascii = only_ascii
        self._is_plain = plain(suspects.functions).fullmatch
        self._verdicts: dict[str | bytes, int] = {}
        self._commented: dict[str | bytes, int] = {}

    def judge(self, statement: str | bytes) -> int:
        """``READS``, ``WRITES`` or ``SAVEPOINT``: *statement* provably leaves the session as it
        found it; or ``DIRTY``.

        Give the template, before parameters are put in, where there is one: parameters become
        literals and can't change the verdict, and a template is judged once.
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
        # Usually it is the first word.
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
"""By the text alone."""


def _without_edges(text: str) -> str:
    """*text* without the comments around it.

    To cut one off at the end is safe, although nobody has looked at what is before it: if that is
    clean, each of its quotes is closed, and so the comment does not begin inside of one.
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

    Whether a backslash escapes the quote behind it depends on the session's ``sql_mode``. So the
    shape ends at the first one: to guess wrong would show what is inside the next literal.
    """
    text = statement.decode("latin-1") if isinstance(statement, bytes) else statement
    text, backslash, _ = text.partition("\\")
    shown = " ".join(_HIDDEN.sub(_without_data, text).split())
    return f"{shown[:SHOWN_SHAPE]} …" if backslash or len(shown) > SHOWN_SHAPE else shown


def _without_data(found: re.Match[str]) -> str:
    if found["comment"]:
        return " "
    return "?" if found["literal"] else found[0]
