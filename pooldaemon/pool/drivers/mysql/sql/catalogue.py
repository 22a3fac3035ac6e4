"""The code that a plain statement may run: triggers, views, functions, and columns' expressions.

A few queries read it from the server. Each object is proven harmless by its text and by the objects
that it names. The others are suspect: also a view over a suspect view, and a table with a trigger
that writes to a table with a suspect trigger. Two functions that call each other are harmless if
nothing in either is suspect, since all that they do is done by some statement in one of them.

The cascades of foreign keys run no triggers on MySQL or MariaDB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from pooldaemon.pool.drivers.mysql.sql.grammar import (
    CALLABLE,
    HARMFUL_BUILT_INS,
    SYSTEM_SCHEMAS,
    TABLES_OF_THE_SERVER,
)
from pooldaemon.pool.drivers.mysql.sql.privileges import Rights
from pooldaemon.pool.drivers.mysql.sql.programs import (
    Effects,
    effects_of_expression,
    effects_of_program,
    effects_of_query,
    fold,
)
from pooldaemon.pool.drivers.mysql.sql.suspects import ANYTHING, Names, Suspects, pattern

Rows = Sequence[Sequence[Any]]
Questions = Generator[str, Rows, "Catalogue"]

MAX_OTHERS = 8
"""If an account sees more schemas than this beside its own, statements on the others are suspect:
reading them all might take the server long."""

FEW_TABLES = 200
"""A schema with more tables is not read before the first unit of work but while units run. If it is
not the account's own, it is not read at all."""

PART = {True: 600, False: 10_000}
"""Tables whose code is read by one query, on MariaDB (which opens a file for each) and on MySQL, so
that the server answers within a few milliseconds."""

MAX_FUNCTIONS = 500
"""With more functions, none counts as harmless: each would make the pattern of clean statements
longer."""


class Code(NamedTuple):
    """
    :ivar body: ``None``: the account may not see it.
    """

    schema: str
    name: str
    body: str | None


@dataclass
class Catalogue:
    """The code that the server shows to an account.

    :ivar own: the schema in which its statements run; may be empty.
    :ivar rights: its privileges.
    :ivar read: the schemas whose code was read.
    :ivar unread: the others.
    :ivar triggers: under the names of their tables.
    :ivar packages: names of MariaDB's packages, which look like schemas in a call.
    :ivar defaults: default expressions of columns, under the names of their tables, that may have
        an effect when a row is written.
    :ivar generated: expressions that may have an effect when the table is read: those of generated
        columns, and defaults with variables.
    """

    own: str
    rights: Rights = field(default_factory=Rights)
    read: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    views: list[Code] = field(default_factory=list)
    triggers: list[Code] = field(default_factory=list)
    functions: list[Code] = field(default_factory=list)
    packages: set[str] = field(default_factory=set)
    defaults: list[Code] = field(default_factory=list)
    generated: list[Code] = field(default_factory=list)
    is_big: bool = False
    """It takes too long to be read while a borrower waits."""

    def unseen(self) -> set[str]:
        """The privileges without which the account does not see all code of its own schema."""
        lacking = set()
        if not self.rights.watches_what_it_writes(self.own):
            lacking.add("TRIGGER")
        if any(not view.body for view in self.views if view.schema == self.own):
            lacking.add("SHOW VIEW")
        return lacking


def questions(catalogue: Catalogue, *, mariadb: bool) -> Questions:
    """Fill *catalogue* by several queries, each of which the server answers within milliseconds.

    Yields each query, expects its rows, and returns the catalogue.
    """
    catalogue.rights = Rights.parse([str(grant) for (grant,) in (yield "SHOW GRANTS")])
    rows = yield "SELECT schema_name FROM information_schema.schemata"
    own, others = catalogue.own, [name for (name,) in rows if name not in SYSTEM_SCHEMAS]
    others = [name for name in others if name != own]
    parts = {own: (yield from _count_parts(own, mariadb))} if own else {}
    for schema in others:
        if len(others) <= MAX_OTHERS and (yield from _count_parts(schema, mariadb)) == 1:
            parts[schema] = 1
        else:
            catalogue.unread.append(schema)
    if not parts:
        return catalogue
    catalogue.read = [*parts]
    catalogue.is_big = max(parts.values()) > 1
    yield from _read_functions(catalogue)
    for schema in catalogue.read:
        for part in range(parts[schema]):
            yield from _read_part(catalogue, schema, (part, parts[schema]), mariadb)
    return catalogue


def ask_all(own: str, *, mariadb: bool, ask: Callable[[str], Rows]) -> Catalogue:
    """Send all :func:`questions`, one after the other.

    :param ask: sends a query and returns its rows.
    """
    asking = questions(Catalogue(own), mariadb=mariadb)
    question = next(asking)
    while True:
        try:
            question = asking.send(ask(question))
        except StopIteration as end:
            found: Catalogue = end.value
            return found


def _count_parts(schema: str, mariadb: bool) -> Generator[str, Rows, int]:
    """In how many parts a schema is read, so that each takes milliseconds."""
    # MySQL checks the privileges for each row that it counts.
    most = "" if mariadb else f" LIMIT {FEW_TABLES + 1}"
    ((tables,),) = yield (
        f"SELECT COUNT(*) FROM (SELECT 1 FROM information_schema.tables"
        f" WHERE table_schema = {_literal(schema)}{most}) AS found"
    )
    if tables <= FEW_TABLES:
        return 1
    return 1 + tables // PART[True] if mariadb else 4


def _read_functions(catalogue: Catalogue) -> Generator[str, Rows, None]:
    rows = yield (
        "SELECT routine_schema, routine_name, routine_type, routine_body, routine_definition,"
        " sql_mode FROM information_schema.routines WHERE routine_type <> 'PROCEDURE'"
        f" AND routine_schema IN ({', '.join(map(_literal, catalogue.read))})"
    )
    for schema, name, kind, language, body, mode in rows:
        if kind == "FUNCTION":
            catalogue.functions.append(Code(schema, name, _understood(body, mode, language)))
        else:
            catalogue.packages.add(fold(name))


def _read_part(
    catalogue: Catalogue, schema: str, part: tuple[int, int], mariadb: bool
) -> Generator[str, Rows, None]:
    def which(prefix: str, name: str) -> str:
        number, parts = part
        among = f" AND MOD(CRC32({name}), {parts}) = {number}" if parts > 1 else ""
        return f"{prefix}_schema = {_literal(schema)}{among}"

    rows = yield (
        "SELECT table_name, view_definition FROM information_schema.views WHERE "
        + which("table", "table_name")
    )
    catalogue.views += [Code(schema, name, body or None) for name, body in rows]
    rows = yield (
        "SELECT event_object_table, action_statement, sql_mode FROM information_schema.triggers"
        " WHERE " + which("event_object", "event_object_table")
    )
    catalogue.triggers += [Code(schema, name, _understood(body, mode)) for name, body, mode in rows]
    if not mariadb:
        return  # MySQL's columns compute nothing that stays on the session
    rows = yield (
        "SELECT table_name, column_default, generation_expression FROM information_schema.columns"
        " WHERE (column_default LIKE '%val(%' OR column_default LIKE '%@%'"
        " OR generation_expression LIKE '%@%') AND " + which("table", "table_name")
    )
    for name, default, expression in rows:
        # MariaDB sets a variable in a default as soon as the table is opened.
        computed = catalogue.generated if "@" in (default or "") else catalogue.defaults
        computed.append(Code(schema, name, default or ""))
        catalogue.generated.append(Code(schema, name, expression or ""))


def _literal(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "''") + "'"


def _understood(body: str | None, mode: str, language: str = "SQL") -> str | None:
    """*body*, or ``None`` if it is in a language that is not read here."""
    if body is None or language != "SQL" or {"ORACLE", "MSSQL"} & set(str(mode).split(",")):
        return None
    return body


def find_suspects(catalogue: Catalogue) -> Suspects:
    """The names that make a statement suspect."""
    if catalogue.own.lower() in SYSTEM_SCHEMAS:
        return ANYTHING
    return _Proof(catalogue).suspects()


@dataclass
class _Object:
    """A view, function, trigger or column expression.

    :ivar key: folded schema and name of the object that a statement names; for a trigger or an
        expression that is the table.
    :ivar spelled: the same as the server spells it.
    :ivar effects: ``None``: it is suspect.
    """

    key: tuple[str, str]
    spelled: tuple[str, str]
    effects: Effects | None


class _Marks:
    """Keys, by schema."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key[1] in self._names.get(key[0], ())

    def add(self, key: tuple[str, str]) -> None:
        self._names.setdefault(key[0], set()).add(key[1])

    def are_in(self, one: _Object) -> bool:
        """Whether its text may name one of them."""
        if one.effects is None:
            return False
        named = one.effects.names
        return any(
            (schema == one.key[0] or schema in named) and not names.isdisjoint(named)
            for schema, names in self._names.items()
        )


class _Proof:
    """Marks suspect objects, then those that name a marked one, until no more are found."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._read = {fold(schema): schema for schema in catalogue.read}
        rights = catalogue.rights
        self._seen = {key for key, name in self._read.items() if rights.cover(name, "SELECT")}
        self._watched = {key for key, name in self._read.items() if rights.cover(name, "TRIGGER")}
        self._callable = {key for key, name in self._read.items() if rights.cover(name, "EXECUTE")}
        self._unread = set(map(fold, catalogue.unread))
        self._views = self._objects(catalogue.views, effects_of_query)
        self._functions = self._objects(catalogue.functions, effects_of_program)
        self._triggers = self._objects(catalogue.triggers, effects_of_program)
        self._defaults = self._objects(catalogue.defaults, effects_of_expression)
        self._generated = self._objects(catalogue.generated, effects_of_expression)
        self._known = {one.key for one in self._functions}
        self._bad = _Marks()
        """Suspect when they are read or called."""
        self._bad_written = _Marks()
        """Suspect when they are written."""

    def _objects(
        self, codes: Iterable[Code], read: Callable[[str], Effects | None]
    ) -> list[_Object]:
        found = []
        for schema, name, body in codes:
            effects = read(body) if body else None
            if body == "":  # a column without such an expression
                continue
            if effects is not None and not self._is_provable(effects, fold(schema)):
                effects = None
            found.append(_Object((fold(schema), fold(name)), (schema, name), effects))
        return found

    def _is_provable(self, effects: Effects, schema: str) -> bool:
        """Whether the account sees all objects that it names."""
        if schema not in self._seen or effects.names & self._unread:
            return False
        calls = effects.calls or (effects.calls_built_ins and effects.is_program)
        if calls and schema not in self._callable:
            return False
        tables = effects.alone | {"new", "old"}
        tables |= {name for qualifier, name in effects.qualified if qualifier in self._read}
        for qualifier, _ in effects.qualified:
            if qualifier in self._read:
                if qualifier not in self._seen:
                    return False
            elif qualifier not in tables and qualifier not in TABLES_OF_THE_SERVER:
                return False
        written = {schema} | effects.names & self._read.keys()
        return not effects.writes or written <= self._watched

    def suspects(self) -> Suspects:
        marked = -1
        while marked != (marked := len(self._bad) + len(self._bad_written)):
            self._mark()
        catalogue, own = self._catalogue, self._catalogue.own

        def named(kinds: Iterable[_Object], marks: _Marks) -> Names:
            spelled = {one.spelled for one in kinds if one.key in marks}
            return frozenset((schema if schema != own else "", name) for schema, name in spelled)

        hidden = {
            ("", word)
            for one in self._functions
            if one.key in self._bad and one.spelled[0] == own
            for word in _hidden_by(one.spelled[1])
        }
        written_schemas = {
            name if name != own else ""
            for name in catalogue.read
            if not catalogue.rights.watches_what_it_writes(name)
        }
        return Suspects(
            named(chain(self._views, self._generated), self._bad) | hidden,
            named(chain(self._triggers, self._defaults, self._views), self._bad_written),
            frozenset(catalogue.unread),
            frozenset(written_schemas),
            frozenset(self._harmless_functions()),
        )

    def _mark(self) -> None:
        for one in chain(self._views, self._functions, self._generated):
            if one.key not in self._bad and self._is_bad(one):
                self._bad.add(one.key)
        for one in chain(self._triggers, self._defaults):
            if one.key not in self._bad_written and self._is_bad(one):
                self._bad_written.add(one.key)
        for one in self._views:  # a write to a view is a write to its tables
            if one.key not in self._bad_written and one.effects is not None:
                unwatched = self._read.keys() - self._watched - {one.key[0]}
                if one.effects.names & unwatched or self._bad_written.are_in(one):
                    self._bad_written.add(one.key)

    def _is_bad(self, one: _Object) -> bool:
        if one.effects is None or self._bad.are_in(one):
            return True
        for qualifier, name in one.effects.calls:
            called = (qualifier or one.key[0], name)
            if called not in self._known or called in self._bad:
                return True
        return one.effects.writes and self._bad_written.are_in(one)

    def _harmless_functions(self) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        if len(self._functions) > MAX_FUNCTIONS:
            return found
        for one in self._functions:
            schema, name = one.spelled
            if one.key in self._bad or not name.isascii() or not schema.isascii():
                continue
            if one.key[0] not in self._catalogue.packages:
                found.add((schema, name))
            if schema == self._catalogue.own and fold(name) not in HARMFUL_BUILT_INS:
                found.add(("", name))
        return found


def _hidden_by(function: str) -> set[str]:
    """The built-in names that the server might take for the name of this function."""
    spelled = re.compile(pattern(function).replace(r"[^\x00-\x7f]+", ".{1,2}"))
    return {word for word in CALLABLE if spelled.fullmatch(word)}
