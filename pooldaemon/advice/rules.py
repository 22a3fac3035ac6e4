"""What a rule is, and how what it finds becomes a message of Django's checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from django.core.checks import CheckMessage, Error, Warning

from pooldaemon.advice.case import Case


class Found(NamedTuple):
    """What a rule has found.

    :ivar where: databases or a daemon.
    :ivar what: is the matter, with figures.
    :ivar advice: which setting to change to what.
    """

    where: str
    what: str
    advice: str


Examination = Callable[[Case], Iterator[Found]]


@dataclass(frozen=True)
class Rule:
    """
    :ivar id: begins with E for an error, W for a warning of the checks, D for one of the doctor's.
    """

    id: str
    examine: Examination

    @property
    def anchor(self) -> str:
        return f"docs/checks.rst#pooldaemon-{self.id.lower()}"


class Book(list[Rule]):
    """Rules, in the order in which they are told."""

    def rule(self, number: str) -> Callable[[Examination], Examination]:
        def enter(examination: Examination) -> Examination:
            self.append(Rule(number, examination))
            return examination

        return enter


def examine(case: Case, rules: Iterable[Rule]) -> list[CheckMessage]:
    """What the rules find, without what ``SILENCED_SYSTEM_CHECKS`` names."""
    return [
        message
        for rule in rules
        for found in rule.examine(case)
        if not (message := _message(rule, found)).is_silenced()
    ]


def _message(rule: Rule, found: Found) -> CheckMessage:
    kind = Error if rule.id.startswith("E") else Warning
    hint = f"{found.advice} See {rule.anchor}."
    return kind(found.what, hint=hint, obj=found.where, id=f"pooldaemon.{rule.id}")
