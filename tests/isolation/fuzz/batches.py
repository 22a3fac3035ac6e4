"""Batches of statements: written, judged, run if they are called clean, and what they left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any

from tests.isolation.fuzz import sql
from tests.isolation.fuzz.watched import Count, Kind, Lost, Statement, Watched
from tests.isolation.fuzz.writer import Tokens, Writer

Judge = Callable[[str | bytes], Any]
Judges = dict[bool, Judge]

SIZE = 500
"""Statements of a batch. What is judged dirty is not run."""

CHARSETS = ("utf8mb4", "latin1", "gbk", "sjis", "big5", "cp1251", "koi8r")
UNDERSTOOD = frozenset({"utf8mb4", "latin1"})

# Those that change how a statement is read; and the others.
READING = (
    "ANSI_QUOTES",
    "NO_BACKSLASH_ESCAPES",
    "PIPES_AS_CONCAT",
    "IGNORE_SPACE",
    "HIGH_NOT_PRECEDENCE",
    "ANSI",
)
OTHERS = (
    "STRICT_TRANS_TABLES", "STRICT_ALL_TABLES", "ONLY_FULL_GROUP_BY", "NO_ZERO_DATE", "TRADITIONAL",
    "NO_UNSIGNED_SUBTRACTION", "PAD_CHAR_TO_FULL_LENGTH", "REAL_AS_FLOAT", "NO_AUTO_VALUE_ON_ZERO",
    "ALLOW_INVALID_DATES", "ERROR_FOR_DIVISION_BY_ZERO", "NO_ENGINE_SUBSTITUTION",
    "NO_DIR_IN_CREATE",
)  # fmt: skip
OF_MYSQL = ("TIME_TRUNCATE_FRACTIONAL",)
OF_MARIADB = (
    "ORACLE", "ORACLE", "MSSQL", "DB2", "POSTGRESQL", "MAXDB", "MYSQL323", "MYSQL40",
    "EMPTY_STRING_IS_NULL", "SIMULTANEOUS_ASSIGNMENT", "TIME_ROUND_FRACTIONAL",
    "IGNORE_BAD_TABLE_OPTIONS",
    "NO_KEY_OPTIONS", "NO_TABLE_OPTIONS", "NO_FIELD_OPTIONS",
)  # fmt: skip

# Data that the driver puts in, which may look like anything.
DATA: tuple[Any, ...] = (
    1, -1, 1.5, None, True, "x", "", "'", "\\", "\\'", "' , GET_LOCK('leak', 0) , '", '"', "`",
    "%s", "%",
    ", GET_LOCK(0x6c65616b, 0), ", "\u8868", "\u529f', GET_LOCK('leak', 0), '", "\xa5'", "\x00",
    "*/", "@leak",
    b"x'", b"\xbf\x27", b"\\", ("leak", 0), ["leak", 0], (), (1,), Decimal("1.5"),
    datetime(2026, 1, 1, tzinfo=UTC), "\n", "-- ", {"leak"},
)  # fmt: skip
PLACEHOLDERS = (
    "%s",
    "%s",
    "%s",
    "%s",
    "%s",
    "%s",
    "'%s'",
    "%5s",
    "%.2s",
    "%(a)s",
    "%a",
    "%b",
    "%r",
    "%c",
    "`%s`",
    '"%s"',
)


@dataclass(frozen=True)
class Leak:
    """What was called clean, and is not."""

    statements: tuple[Statement, ...]
    kind: Kind
    batch: str
    found: dict[str, Any]

    def __str__(self) -> str:
        lines = [f"batch {self.batch}, {self.kind}:"]
        for each in self.statements[:5]:
            with_data = "" if each.parameters is None else f" with {each.parameters!r}"
            lines.append(f"    {each.text!r}{with_data}")
        return "\n".join([*lines, f"  left {str(self.found)[:600]}"])


@dataclass
class Tally:
    """What was done."""

    written: int = 0
    clean: int = 0
    leaking: int = 0
    """Statements written to leave something."""
    count: Count = field(default_factory=Count)
    leaks: list[Leak] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        count = self.count
        refused = sum(count.refused.values())
        return (
            f"{self.written} statements in {self.seconds:.1f} s"
            f" ({self.written / max(self.seconds, 0.001):.0f} a second): {self.clean} called clean"
            " and sent,"
            f" {count.ran} of them executed, {refused} refused by the server;"
            f" {len(self.leaks)} leaks, {sum(self.lost.values())} sessions lost"
        )


class Author:
    """Writes statements; all of it is decided by *random*."""

    def __init__(self, random: Random, schema: str) -> None:
        self._random = random
        self._plain, self._hiding, self._leaking = (
            Writer(sql.rules(each, schema), random) for each in (sql.PARTS, sql.HIDING, sql.LEAKING)
        )

    def statement(self) -> Statement:
        chance = self._random.random()
        if chance < 0.40:
            return self._finish(self._plain, self._plain.write("<clean>"))
        if chance < 0.52:
            tokens = self._plain.disturb(self._plain.write("<clean>"), self._foreign)
            return self._finish(self._plain, tokens)
        if chance < 0.85:
            return self._finish(self._hiding, self._hiding.write("<hiding>", budget=12))
        if chance < 0.92:
            return self._finish(self._leaking, self._leaking.write("<clean>"))
        return self._disguised(self._leaking.pick(sql.KNOWN))

    def _foreign(self) -> Tokens:
        return self._leaking.write("<foreign>", budget=5)

    def _disguised(self, known: str) -> Statement:
        writer = self._leaking
        if self._random.random() < 0.5:
            known = writer.pick(sql.WRAPPERS).replace("{}", known)
        tokens = known.split(" ")
        if self._random.random() < 0.3:
            tokens = writer.disturb(tokens, self._foreign)
        return self._finish(writer, tokens)

    def _finish(self, writer: Writer, tokens: Tokens) -> Statement:
        text = writer.spell(tokens)
        chance = self._random.random()
        if chance < 0.05:
            text = writer.damage(text)
        elif chance < 0.09:
            text = writer.pick(sql.WRAPPERS).replace("{}", text)
        if chance > 0.9:
            return self._with_parameters(writer, text)
        if chance > 0.88:
            return Statement(text.encode("utf-8", "replace"))
        return Statement(text)

    def _with_parameters(self, writer: Writer, text: str) -> Statement:
        """Some of its literals are put in by the driver."""
        if self._random.random() < 0.9:
            text = text.replace("%", "%%")
        parts = text.split(" ")
        parameters = []
        for index, part in enumerate(parts):
            if (part[:1].isdigit() or part[:1] == "'") and self._random.random() < 0.5:
                parts[index] = writer.pick(PLACEHOLDERS)
                parameters.append(writer.pick(DATA))
        text = " ".join(parts)
        if "%(a)s" in text:
            return Statement(text.replace("%s", "%(a)s"), {"a": writer.pick(DATA)})
        return Statement(text, tuple(parameters))


class Fuzz:
    """
    :param random: decides everything.
    :param write: writes a statement, by *random*.
    :param judges: say whether one is clean; by whether only ASCII is understood.
    :param open_session: a new one of a kind.
    """

    def __init__(
        self,
        random: Random,
        write: Callable[[], Statement],
        judges: Judges,
        open_session: Callable[[Kind], Watched],
        *,
        mariadb: bool,
    ) -> None:
        self._random = random
        self._write = write
        self._judges = judges
        self._open = open_session
        self._modes = READING * 2 + OTHERS + (OF_MARIADB if mariadb else OF_MYSQL)
        self.tally = Tally()

    def run(self, name: str, size: int = SIZE) -> None:
        """The batch of this name: the same one each time."""
        started = time.monotonic()
        self._random.seed(name)
        kind = self._kind()
        judge = self._judges[kind.charset not in UNDERSTOOD]
        written = [self._write() for _ in range(size)]
        clean = [each for each in written if judge(each.text)]
        self.tally.written += size
        self.tally.clean += len(clean)
        self._try(clean, kind, name)
        self.tally.seconds += time.monotonic() - started

    def _kind(self) -> Kind:
        random = self._random
        modes = {random.choice(self._modes) for _ in range(random.choice((0, 1, 1, 2, 2, 3, 5)))}
        return Kind(random.choice(CHARSETS), ",".join(sorted(modes)), random.random() < 0.2)

    def _try(self, clean: list[Statement], kind: Kind, name: str) -> None:
        while True:
            session = self._open(kind)
            try:
                found = session.differences_after(clean, self.tally.count)
                break
            except Lost as lost:
                [statement] = lost.args
                self.tally.lost[repr(statement)] += 1
                clean = clean[clean.index(statement) + 1 :]
            finally:
                session.close()
        if found:
            self.tally.leaks += self._leaks(clean, kind, name, found)

    def _leaks(
        self, statements: list[Statement], kind: Kind, name: str, found: dict[str, Any]
    ) -> Iterator[Leak]:
        """Which of them it was."""
        if len(statements) > 1:
            middle = len(statements) // 2
            halves = [
                (half, self._found(half, kind))
                for half in (statements[:middle], statements[middle:])
            ]
            if any(left for _, left in halves):
                for half, left in halves:
                    if left:
                        yield from self._leaks(half, kind, name, left)
                return
        if len(statements) == 1:
            statements = [self._shortened(statements[0], kind)]
            found = self._found(statements, kind) or found
        yield Leak(tuple(statements), kind, name, found)

    def _found(self, statements: list[Statement], kind: Kind) -> dict[str, Any]:
        session = self._open(kind)
        try:
            return session.differences_after(statements, Count())
        except Lost as lost:
            return {"lost": lost}
        finally:
            session.close()

    def _shortened(self, statement: Statement, kind: Kind) -> Statement:
        """Without what is not needed for it to leave something and yet be called clean."""
        judge = self._judges[kind.charset not in UNDERSTOOD]
        text, size = statement.text, len(statement.text) // 2
        while size:
            at = 0
            while at < len(text):
                shorter = text[:at] + text[at + size :]
                one = Statement(shorter, statement.parameters)
                if judge(shorter) and self._found([one], kind):
                    text = shorter
                else:
                    at += size
            size //= 2
        return Statement(text, statement.parameters)
