"""Tests that end otherwise on our backend, and those of them that may."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from conformance.suite import Outcomes

LIST = Path(__file__).with_name("differences.toml")


@dataclass(frozen=True)
class Listed:
    """A difference that has a reason.

    :ivar test: its id, where * stands for anything.
    :ivar ends: how it ends on ours, in the same way. Another failure is not the one with a reason.
    :ivar modes: of ours, in which it is there.
    """

    test: str
    ends: str
    modes: tuple[str, ...]
    reason: str

    def covers(self, test: str, end: str, mode: str) -> bool:
        return self.is_about(test, mode) and fnmatchcase(end, self.ends)

    def is_about(self, test: str, mode: str) -> bool:
        return mode in self.modes and fnmatchcase(test, self.test)


def read_list(path: Path = LIST) -> list[Listed]:
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["difference"]
    return [
        Listed(test, one["ends"], tuple(one["modes"]), one["reason"])
        for one in entries
        for test in one["tests"]
    ]


def kind(outcome: str) -> str:
    """``failed: IntegrityError: …`` has failed, whatever it said."""
    return outcome.partition(":")[0]


def find(expected: Outcomes, found: Outcomes) -> dict[str, tuple[str, str]]:
    """By test, both outcomes, where they are of different kinds."""
    pairs = {
        test: (expected.get(test, "not run"), found.get(test, "not run"))
        for test in sorted(expected.keys() | found.keys())
    }
    return {test: pair for test, pair in pairs.items() if kind(pair[0]) != kind(pair[1])}


def without_difference(
    listed: Sequence[Listed], mode: str, found: Outcomes, differing: Sequence[str]
) -> list[str]:
    """What is listed of the tests that ran, and did not differ."""
    return [
        one.test
        for one in listed
        if any(one.is_about(test, mode) for test in found)
        and not any(one.is_about(test, mode) for test in differing)
    ]
