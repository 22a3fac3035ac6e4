"""The names that a statement may not contain if it is to leave nothing behind.

Names are compared as the least particular server does it, and less: without regard to letters'
case, and with all that is not ASCII taken for the same. To find too much costs a reset.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from pooldaemon.pool.drivers.mysql.sql.grammar import lowered

Names = frozenset[tuple[str, str]]
"""Each with its schema, which is empty for the one in which statements run."""

_WORDS = re.compile(r"[a-z0-9_$]+")
_PARTS = re.compile(r"[^\x00-\x7f]+|[\x00-\x7f]+")


@dataclass(frozen=True)
class Suspects:
    """
    :ivar names: of what may leave something on the session when it is used: views, functions that
        bear the name of a built-in, tables that compute something when they are read.
    :ivar written: of what may when it is written: tables with such triggers or defaults.
    :ivar schemas: of whose objects nothing is known.
    :ivar written_schemas: of whose triggers nothing is known; with ``""`` every write is suspect.
    :ivar functions: that may be called, since they were proven harmless.
    :ivar anything: every statement may leave something.
    """

    names: Names = frozenset()
    written: Names = frozenset()
    schemas: frozenset[str] = frozenset()
    written_schemas: frozenset[str] = frozenset()
    functions: Names = frozenset()
    anything: bool = False

    def to_json(self) -> dict[str, Any]:
        """As what JSON can tell another process."""
        return {
            "names": sorted(self.names),
            "written": sorted(self.written),
            "schemas": sorted(self.schemas),
            "written_schemas": sorted(self.written_schemas),
            "functions": sorted(self.functions),
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """:raises KeyError, TypeError, ValueError: it is something else."""

        def pairs(name: str) -> Names:
            return frozenset((str(schema), str(one)) for schema, one in told[name])

        return cls(
            pairs("names"),
            pairs("written"),
            frozenset(map(str, told["schemas"])),
            frozenset(map(str, told["written_schemas"])),
            pairs("functions"),
        )

    def are_named(self, text: str, *, writes: bool) -> bool:
        """Whether *text*, the names of a clean statement, has one of them.

        :param writes: it writes.
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
    """A word that is in any statement with this name; empty: there is none."""
    return max(_WORDS.findall(lowered(name)), key=len, default="")


def pattern(name: str) -> str:
    """A regular expression for an identifier, in quotes or not, in the text of a statement.

    A quote in it is doubled there, and such a name was taken for two with a blank between.
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
