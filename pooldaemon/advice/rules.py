"""Rules, and how their findings become messages of Django's checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from django.core.checks import CheckMessage, Error, Warning

from pooldaemon.advice.case import Case


class Found(NamedTuple):
    """A finding.

    :ivar where: the databases, or the daemon and its pool.
    :ivar what: what is wrong, with figures.
    :ivar advice: which setting to change to what.
    """

    where: str
    what: str
    advice: str


Examination = Callable[[Case], Iterator[Found]]


@dataclass(frozen=True)
class Rule:
    """A rule with its id.

    :ivar id: E and a number: an error; W: a warning of the checks; D: a warning of the doctor only.
    :ivar examine: yields what it finds in a case.
    """

    id: str
    examine: Examination

    @property
    def anchor(self) -> str:
        return f"docs/checks.rst#pooldaemon-{self.id.lower()}"


class Book(list[Rule]):
    """Rules, in the order of their messages."""

    def rule(self, number: str) -> Callable[[Examination], Examination]:
        def enter(examination: Examination) -> Examination:
            self.append(Rule(number, examination))
            return examination

        return enter


def examine(case: Case, rules: Iterable[Rule]) -> list[CheckMessage]:
    """The findings of *rules* as messages, without those of ``SILENCED_SYSTEM_CHECKS``."""
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
