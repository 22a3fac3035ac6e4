"""What views, triggers and stored functions do, as far as their text shows.

A body is split into tokens and read statement by statement. Whatever is not understood makes it
suspect: a variable of the session, a lock, dynamic SQL, a SET of anything but a local variable or a
column of the new row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from pooldaemon.pool.drivers.mysql.sql.grammar import (
    CALLABLE,
    COMMENT,
    FORBIDDEN_NAMES,
    FORBIDDEN_WORDS,
    HARMFUL_BUILT_INS,
    NUMBER,
    OPERATOR,
    QUOTED,
    SYSTEM_SCHEMAS,
    TABLES_OF_THE_SERVER,
    WORD,
    lowered,
)


class Token(NamedTuple):
    kind: str
    text: str


@dataclass(frozen=True)
class Effects:
    """What a body that is harmless by itself depends on.

    :ivar names: all identifiers in it, folded by :func:`fold`.
    :ivar alone: those that have no qualifier and are none.
    :ivar qualified: those with a qualifier, as pairs.
    :ivar calls: functions that are not built in, with their schema, or ``""`` if none is given.
    :ivar calls_built_ins: whether it calls built-in functions. A stored function of the same name
        may be called instead.
    :ivar writes: whether it writes to tables.
    :ivar is_program: whether its text is as somebody wrote it. The server rewrites the text of
        views, and quotes the names of stored functions there.
    """

    names: frozenset[str]
    alone: frozenset[str]
    qualified: frozenset[tuple[str, str]]
    calls: frozenset[tuple[str, str]]
    calls_built_ins: bool
    writes: bool
    is_program: bool


class _NotUnderstood(Exception):
    pass


def _tokens(string: str) -> re.Pattern[str]:
    return re.compile(
        rf"""[ \t\n\r\v\f]++|(?P<comment>{COMMENT})|(?P<string>{string})|(?P<number>{NUMBER})
        |(?P<word>{WORD})|(?P<quoted>{QUOTED})|(?P<end>;)|(?P<label>:=|:)|(?P<dot>\.)
        |(?P<open>\()|(?P<other>{OPERATOR})|(?P<unknown>.)""".replace("\n        ", ""),
        re.DOTALL,
    )


# Whether a backslash is an escape depends on the sql_mode in which the body was created.
_READINGS = (_tokens(r"'(?:[^'\\]|\\.)*+'"), _tokens("'[^']*+'"))

_TYPES = """
    int integer tinyint smallint mediumint bigint decimal numeric dec fixed float double real bit
    char varchar binary varbinary tinytext text mediumtext longtext tinyblob blob mediumblob
    longblob enum set date datetime timestamp time year json boolean bool
"""

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")

_WRITES = frozenset({"insert", "update", "delete", "replace"})


@lru_cache(maxsize=8192)
def effects_of_query(text: str) -> Effects | None:
    """The effects of a view's query; ``None`` if it is not understood."""
    return _effects(text, _Query)


@lru_cache(maxsize=8192)
def effects_of_program(text: str) -> Effects | None:
    """The effects of the body of a trigger or function; ``None`` if it is not understood."""
    return _effects(text, _Program)


@lru_cache(maxsize=8192)
def effects_of_expression(text: str) -> Effects | None:
    """The effects of a column's default, or of the expression of a generated column; ``None`` if it
    is not understood."""
    return _effects(text, _Expression)


def _effects(text: str, reader: type[_Reader]) -> Effects | None:
    # The patterns are for templates, in which "%%" is a percent sign.
    text = lowered(text).replace("%", "%%")
    readings = _READINGS if "\\" in text else _READINGS[:1]
    try:
        found = [reader(list(_read(text, pattern))).effects() for pattern in readings]
    except _NotUnderstood:
        return None
    return found[0] if found[1:] in ([], [found[0]]) else None


def _read(text: str, pattern: re.Pattern[str]) -> Iterator[Token]:
    for found in pattern.finditer(text):
        kind = found.lastgroup
        if kind == "unknown":
            raise _NotUnderstood
        if kind not in {None, "comment"}:
            yield Token(str(kind), found.group())


def fold(name: str) -> str:
    """A form of *name* that is the same for all names that a server might take for it."""
    return _NOT_ASCII.sub("\x80", lowered(name))


def name_of(token: Token) -> str | None:
    """The identifier that *token* is; ``None`` if it is none."""
    if token.kind == "word":
        return token.text
    if token.kind == "quoted":
        quote = token.text[0]
        return token.text[1:-1].replace(quote * 2, quote).replace("%%", "%")
    return None


class _Reader:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._calls: set[tuple[str, str]] = set()
        self._calls_built_ins = False
        self._locals: set[str] = set()

    def effects(self) -> Effects:
        self._read_all()
        names, alone, pairs = set(), set(), set()
        for index, token in enumerate(self._tokens):
            if (name := name_of(token)) is None:
                continue
            names.add(name)
            if (qualifier := self._qualifier(index)) is not None:
                pairs.add((qualifier, name))
            elif self._tokens[index + 1 : index + 2] != [Token("dot", ".")]:
                alone.add(name)
        words = {token.text for token in self._tokens if token.kind == "word"}
        if words & FORBIDDEN_WORDS or names & FORBIDDEN_NAMES or _asks_the_server(names, pairs):
            raise _NotUnderstood
        return Effects(
            frozenset(map(fold, names)),
            frozenset(map(fold, alone)),
            frozenset((fold(qualifier), fold(name)) for qualifier, name in pairs),
            frozenset((fold(qualifier), fold(name)) for qualifier, name in self._calls),
            self._calls_built_ins,
            bool(words & _WRITES),
            isinstance(self, _Program),
        )

    def _read_all(self) -> None:
        raise NotImplementedError

    def _peek(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else Token("end", "")

    def _next_is(self, *words: str) -> bool:
        token = self._peek()
        return token.kind == "word" and token.text in words

    def _take(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _expect(self, *words: str) -> str:
        if not self._next_is(*words):
            raise _NotUnderstood
        return self._take().text

    def _expect_end(self) -> None:
        if self._take().kind != "end":
            raise _NotUnderstood

    def _qualifier(self, index: int) -> str | None:
        if index >= 2 and self._tokens[index - 1].kind == "dot":
            return name_of(self._tokens[index - 2])
        return None

    def _check_call(self, start: int) -> None:
        """If the parenthesis that comes next is a call, note which function it calls."""
        before = self._tokens[self._at - 1] if self._at > start else None
        if before is not None and before.kind == "number":
            raise _NotUnderstood  # after a dot it may be the name of a function
        name = None if before is None else name_of(before)
        if name is None or self._names_columns(start):
            return
        qualifier = self._qualifier(self._at - 1)
        if before is not None and before.kind == "word" and qualifier is None and name in CALLABLE:
            self._calls_built_ins = True
            return
        if qualifier is None and name in HARMFUL_BUILT_INS:
            raise _NotUnderstood
        if qualifier is not None and self._at >= 4 and self._tokens[self._at - 4].kind == "dot":
            raise _NotUnderstood  # a function of a package
        self._calls.add((qualifier or "", name))

    def _names_columns(self, start: int) -> bool:
        tokens = [token for token in self._tokens[start : self._at] if token.kind != "open"]
        names = [token.text for token in tokens]
        if len(tokens) > 2 and tokens[-2].kind == "dot":
            del names[-2:]
        return names[:-1] in (
            ["insert", "into"],
            ["insert", "ignore", "into"],
            ["replace", "into"],
            ["with"],
            ["with", "recursive"],
        )

    def _plain(self, start: int) -> None:
        """Read one token of a query or an expression."""
        token = self._peek()
        if token.kind in {"end", "label"}:
            raise _NotUnderstood
        if token.kind == "open":
            self._check_call(start)
        self._at += 1

    def _expression(self, *until: str) -> None:
        """Read up to one of the words *until* that is not inside CASE … END. Without words, read up
        to the end of the statement."""
        start, cases = self._at, 0
        while not (cases == 0 and (self._next_is(*until) if until else self._peek().kind == "end")):
            if self._next_is("case"):
                cases += 1
            elif self._next_is("end"):
                cases -= 1
            self._plain(start)


def _asks_the_server(names: set[str], pairs: set[tuple[str, str]]) -> bool:
    for schema in SYSTEM_SCHEMAS & names:
        of_it = {name for qualifier, name in pairs if qualifier == schema}
        if not of_it or of_it - {*TABLES_OF_THE_SERVER.get(schema, ())}:
            return True
    return False


class _Expression(_Reader):
    def _read_all(self) -> None:
        self._expression()
        if self._at < len(self._tokens):
            raise _NotUnderstood


class _Query(_Reader):
    def _read_all(self) -> None:
        first = next((token for token in self._tokens if token.kind != "open"), None)
        if first not in {Token("word", "select"), Token("word", "with")}:
            raise _NotUnderstood
        self._expression()
        if self._at < len(self._tokens):
            raise _NotUnderstood


class _Program(_Reader):
    """The body of a trigger or function: a statement or a block."""

    def _read_all(self) -> None:
        self._statement()
        if self._peek().kind == "end" and self._at < len(self._tokens):
            self._at += 1
        if self._at < len(self._tokens):
            raise _NotUnderstood

    def _statement(self) -> None:
        """Read a statement without the semicolon after it."""
        token = self._peek()
        follower = self._tokens[self._at + 1 : self._at + 2]
        if name_of(token) and follower == [Token("label", ":")]:
            self._at += 2
            token = self._peek()
        read = _STATEMENTS.get(token.text) if token.kind == "word" else None
        if read is None:
            raise _NotUnderstood
        read(self)

    def _statements(self, *until: str) -> None:
        while not self._next_is(*until):
            self._statement()
            self._expect_end()

    def _label_at_end(self) -> None:
        if self._peek().kind in {"word", "quoted"}:
            self._at += 1

    def _read_begin(self) -> None:
        self._at += 1
        outer = self._locals.copy()
        self._statements("end")
        self._locals = outer
        self._at += 1
        self._label_at_end()

    def _read_if(self) -> None:
        self._at += 1
        self._branches("then", "elseif")
        self._expect("if")

    def _branches(self, then: str, again: str) -> None:
        self._expression(then)
        self._at += 1
        self._statements(again, "else", "end")
        match self._take().text:
            case "else":
                self._statements("end")
                self._at += 1
            case "end":
                pass
            case _:
                self._branches(then, again)

    def _read_case(self) -> None:
        self._at += 1
        self._expression("when")
        self._at += 1
        self._branches("then", "when")
        self._expect("case")

    def _read_while(self) -> None:
        self._at += 1
        self._expression("do")
        self._loop("while")

    def _read_loop(self) -> None:
        self._loop("loop")

    def _loop(self, kind: str) -> None:
        self._at += 1
        self._statements("end")
        self._at += 1
        self._expect(kind)
        self._label_at_end()

    def _read_repeat(self) -> None:
        self._at += 1
        self._statements("until")
        self._at += 1
        self._expression("end")
        self._at += 1
        self._expect("repeat")
        self._label_at_end()

    def _read_declare(self) -> None:
        self._at += 1
        if self._next_is("exit", "continue", "undo"):
            self._read_handler()
            return
        names = [self._name()]
        if self._next_is("cursor"):
            self._at += 1
            self._expect("for")
            self._query("select", "with")
            return
        if self._next_is("condition"):
            self._expression()
            return
        while self._peek() == Token("other", ","):
            self._at += 1
            names.append(self._name())
        self._locals.update(names)
        self._type()
        if self._next_is("default"):
            self._at += 1
        self._expression()

    def _type(self) -> None:
        self._expect(*_TYPES.split())
        if self._peek().kind == "open":
            while self._peek() != Token("other", ")"):
                if self._take().kind not in {"open", "number", "string", "other"}:
                    raise _NotUnderstood
            self._at += 1
        while self._next_is("unsigned", "signed", "zerofill", "character", "charset", "collate"):
            word = self._take().text
            if word == "character":
                self._expect("set")
            if word in {"character", "charset", "collate"}:
                self._name()

    def _read_handler(self) -> None:
        self._at += 1
        self._expect("handler")
        self._expect("for")
        self._condition()
        while self._peek() == Token("other", ","):
            self._at += 1
            self._condition()
        self._statement()

    def _condition(self) -> None:
        token = self._take()
        if token == Token("word", "not"):
            self._expect("found")
        elif token == Token("word", "sqlstate"):
            if self._next_is("value"):
                self._at += 1
            if self._take().kind != "string":
                raise _NotUnderstood
        elif name_of(token) is None and token.kind != "number":
            raise _NotUnderstood

    def _read_set(self) -> None:
        self._at += 1
        while True:
            self._target()
            start, depth = self._at, 0
            while self._peek().kind != "end":
                token = self._peek()
                if depth == 0 and token == Token("other", ","):
                    break
                depth += (token.kind == "open") - (token == Token("other", ")"))
                self._plain(start)
            if self._peek().kind == "end":
                return
            self._at += 1

    def _target(self) -> None:
        """Read the target of a SET. A name that is not declared is a variable of the session."""
        name = self._name()
        if name == "new" and self._peek().kind == "dot":
            self._at += 1
            self._name()
        elif name not in self._locals:
            raise _NotUnderstood
        if self._take() not in {Token("other", "="), Token("label", ":=")}:
            raise _NotUnderstood

    def _name(self) -> str:
        name = name_of(self._take())
        if name is None:
            raise _NotUnderstood
        return name

    def _query(self, *verbs: str) -> None:
        if not self._next_is(*verbs):
            raise _NotUnderstood
        self._expression()

    def _read_plain(self) -> None:
        self._expression()

    def _read_word_and_rest(self) -> None:
        self._at += 1
        self._expression()


_STATEMENTS = {
    "begin": _Program._read_begin,
    "if": _Program._read_if,
    "case": _Program._read_case,
    "while": _Program._read_while,
    "loop": _Program._read_loop,
    "repeat": _Program._read_repeat,
    "declare": _Program._read_declare,
    "set": _Program._read_set,
    **dict.fromkeys(
        ("select", "insert", "update", "delete", "replace", "with"), _Program._read_plain
    ),
    **dict.fromkeys(
        ("return", "leave", "iterate", "open", "close", "fetch", "signal", "resignal"),
        _Program._read_word_and_rest,
    ),
}
