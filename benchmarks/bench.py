"""What a case is given to work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from benchmarks.server import Target

T = TypeVar("T")


@dataclass(frozen=True)
class Bench:
    """The server, and how thoroughly to measure.

    :ivar target: the server, and a database on it that is the benchmarks' own.
    :ivar kind: ``"mariadb"`` or ``"mysql"``.
    :ivar given_rounds: what ``--rounds`` says.
    :ivar quick: everything once, briefly.
    """

    target: Target
    kind: str
    given_rounds: int | None = None
    quick: bool = False

    def rounds(self, usual: int) -> int:
        return self.given_rounds or self.of(usual, 2)

    def of(self, full: T, quick: T) -> T:
        return quick if self.quick else full
