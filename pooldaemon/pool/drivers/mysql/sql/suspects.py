"""Names of objects that may leave something on a session when a statement uses them.

Names are compared more loosely than by any server: upper and lower case are the same, and so are
all characters that are not ASCII. A match too many costs only a reset.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from pooldaemon.pool.drivers.mysql.sql.grammar import lowered

Names = frozenset[tuple[str, str]]
"""Pairs of schema and name. The schema is empty for the one in which statements run."""

_WORDS = re.compile(r"[a-z0-9_$]+")
_PARTS = re.compile(r"[^\x00-\x7f]+|[\x00-\x7f]+")


@dataclass(frozen=True)
class Suspects:
    """
    :ivar names: suspect when they are read or called: views, functions with the name of a built-in
        function, tables with columns that compute something.
    :ivar written: suspect when they are written: tables with such triggers or defaults.
    :ivar schemas: schemas whose objects are not known.
    :ivar written_schemas: schemas whose triggers are not known; with ``""`` every write is suspect.
    :ivar functions: functions that were proven harmless.
    :ivar anything: every statement is suspect.
    """

    names: Names = frozenset()
    written: Names = frozenset()
    schemas: frozenset[str] = frozenset()
    written_schemas: frozenset[str] = frozenset()
    functions: Names = frozenset()
    anything: bool = False

    def to_json(self) -> dict[str, Any]:
        """For another process, in types that JSON has."""
        return {
            "names": sorted(self.names),
            "written": sorted(self.written),
            "schemas": sorted(self.schemas),
            "written_schemas": sorted(self.written_schemas),
            "functions": sorted(self.functions),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """:raises KeyError, TypeError, ValueError: *content* is not from :meth:`to_json`."""

        def pairs(name: str) -> Names:
            return frozenset((str(schema), str(one)) for schema, one in content[name])

        return cls(
            pairs("names"),
            pairs("written"),
            frozenset(map(str, content["schemas"])),
            frozenset(map(str, content["written_schemas"])),
            pairs("functions"),
        )

    def are_named(self, text: str, *, writes: bool) -> bool:
        """Whether *text*, the names of a clean statement, contains a suspect one.

        :param writes: whether the statement writes.
        """
        if writes and "" in self.written_schemas:
            return True
        search = self._search_written if writes else self._search
        words = set(_WORDS.findall(text))
        return any(
            (not key or key in words) and all(pattern.search(text) for pattern in patterns)
            for key, patterns in search
        )

    @cached_property
    def _search(self) -> list[tuple[str, list[re.Pattern[str]]]]:
        return _searches(self.names, self.schemas)

    @cached_property
    def _search_written(self) -> list[tuple[str, list[re.Pattern[str]]]]:
        return _searches(self.names | self.written, self.schemas | self.written_schemas - {""})

    @property
    def is_empty(self) -> bool:
        """Whether no name is suspect."""
        return not (
            self.names or self.written or self.schemas or self.written_schemas or self.anything
        )


NONE = Suspects()
ANYTHING = Suspects(anything=True)


def _searches(names: Names, schemas: Iterable[str]) -> list[tuple[str, list[re.Pattern[str]]]]:
    wanted = [[part for part in pair if part] for pair in names] + [[one] for one in schemas]
    return [(_key(parts[-1]), [re.compile(pattern(part)) for part in parts]) for parts in wanted]


def _key(name: str) -> str:
    """A word that is in every statement with this name; empty if there is none."""
    return max(_WORDS.findall(lowered(name)), key=len, default="")


def pattern(name: str) -> str:
    """A regular expression for an identifier, quoted or not, in the text of a statement.

    A quote inside a name is doubled there, and the classifier took such a name for two, with a
    blank between them.
    """
    parts = [
        re.sub('[`"]', r"\g<0> ?\g<0>?", re.escape(lowered(part))).replace("%", "%{1,2}")
        if part.isascii()
        else r"[^\x00-\x7f]+"
        for part in _PARTS.findall(name)
    ]
    before = r"(?<![\w$])" if re.match(r"[\w$]", name) else ""
    after = r"(?![\w$])" if re.search(r"[\w$]\Z", name) else ""
    return f"{before}{''.join(parts)}{after}"
