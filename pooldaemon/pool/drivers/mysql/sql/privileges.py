"""The privileges of an account, from ``SHOW GRANTS``, with active roles and MariaDB's PUBLIC."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

_LEVEL = re.compile(
    r"(GRANT|REVOKE) (.+?) ON (?:TABLE )?(?:(\*)|[`\"]((?:[^`\"]|``|\"\")+)[`\"])"
    r"\.(?:(\*)|[`\"](?:[^`\"]|``|\"\")+[`\"]) (?:TO|FROM) ",
    re.DOTALL,
)
_COLUMNS = re.compile(r"\s*\([^)]*\)")

_ALL = "ALL PRIVILEGES"
_WRITING = {"INSERT", "UPDATE", "DELETE", _ALL}

Privileges = frozenset[str]


@dataclass
class Rights:
    """
    :ivar everywhere: on the whole server.
    :ivar schemas: on schemas, by the pattern of their names, as the server keeps it.
    :ivar tables: on single tables, by schema.
    :ivar revoked: patterns of schemas on which some of them are revoked.
    """

    everywhere: Privileges = frozenset()
    schemas: dict[str, Privileges] = field(default_factory=dict)
    tables: dict[str, list[Privileges]] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)

    @classmethod
    def parse(cls, grants: Iterable[str]) -> Self:
        self = cls()
        for grant in grants:
            if (found := _LEVEL.match(grant)) is None:
                continue  # of a role, a routine, a proxy
            verb, listed, everywhere, schema, whole = found.groups()
            privileges = frozenset(_COLUMNS.sub("", listed).upper().replace(" ,", ",").split(", "))
            if verb == "REVOKE":
                self.revoked.add(schema or "%")
            elif everywhere:
                self.everywhere |= privileges
            elif whole:
                self.schemas[schema] = self.schemas.get(schema, frozenset()) | privileges
            else:
                self.tables.setdefault(schema, []).append(privileges)
        return self

    def cover(self, schema: str, privilege: str) -> bool:
        """Whether the account has *privilege* on all of *schema*."""
        return not {privilege, _ALL}.isdisjoint(self._on(schema))

    def watches_what_it_writes(self, schema: str) -> bool:
        """Whether the account sees the triggers of every table in *schema* that it may write to."""
        if self.cover(schema, "TRIGGER"):
            return True
        wide = [has for pattern, has in self.schemas.items() if _matches(pattern, schema)]
        if not _WRITING.isdisjoint(self.everywhere.union(*wide)):
            return False
        return all(
            _WRITING.isdisjoint(table) or not {"TRIGGER", _ALL}.isdisjoint(table)
            for table in self.tables.get(schema, ())
        )

    def _on(self, schema: str) -> Privileges:
        if any(_matches(pattern, schema) for pattern in self.revoked):
            return frozenset()
        matching = {
            pattern: has for pattern, has in self.schemas.items() if _matches(pattern, schema)
        }
        for pattern, has in matching.items():
            if schema in {pattern, _unescaped(pattern)}:
                return self.everywhere | has
        # The server uses only the most specific pattern.
        return self.everywhere | (
            frozenset.intersection(*matching.values()) if matching else frozenset()
        )


def _unescaped(pattern: str) -> str:
    return re.sub(r"\\([_%\\])", r"\1", pattern)


def _matches(pattern: str, schema: str) -> bool:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"_": ".", "%": ".*"}
    expression = "".join(wild.get(part) or re.escape(part[-1]) for part in parts)
    return re.fullmatch(expression, schema, re.DOTALL | re.IGNORECASE) is not None
