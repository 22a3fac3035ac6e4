"""Runs each app on every backend, and prints where one of ours ends otherwise than Django's."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

from conformance import differences
from conformance.backends import REFERENCE
from conformance.kept import Kept
from conformance.suite import NoTestsError, Outcomes, SuiteError


class Tests(Protocol):
    """Django's suite, or packages."""

    def run(self, backend: str, labels: Sequence[str]) -> Outcomes: ...


class Comparison:
    """Printed app by app as it goes, in all at the end."""

    def __init__(self, suite: Tests, kept: Kept, modes: Sequence[str]) -> None:
        self._suite = suite
        self._kept = kept
        self._modes = modes
        self._listed = differences.read_list()
        self._kinds = {backend: Counter[str]() for backend in (REFERENCE, *modes)}
        self._differing = Counter[str]()
        self._unlisted = Counter[str]()
        self._broken: list[str] = []
        self._without_tests: list[str] = []

    def compare(self, labels: Sequence[str]) -> None:
        """
        :param labels: they run in one process, which spares most of the time of short ones.
        """
        started = time.monotonic()
        try:
            outcomes = {backend: self._run(backend, labels) for backend in self._kinds}
            found = {
                mode: self._look_at(mode, outcomes[REFERENCE], outcomes[mode])
                for mode in self._modes
            }
        except NoTestsError as error:
            self._without_tests += labels
            print(f"conformance: {error}", file=sys.stderr)
            return
        except SuiteError as error:
            if len(labels) > 1:  # which of them was it?
                for label in labels:
                    self.compare([label])
                return
            self._broken += labels
            print(f"conformance: {error}", file=sys.stderr)
            return
        for backend, kinds in self._kinds.items():
            kinds.update(map(differences.kind, outcomes[backend].values()))
        for mode, (differing, unlisted) in found.items():
            self._differing[mode] += differing
            self._unlisted[mode] += unlisted
        count, seconds = len(outcomes[REFERENCE]), time.monotonic() - started
        print(f"{' '.join(labels)}: {count} tests, {seconds:.0f} s", flush=True)

    def report(self) -> int:
        """:returns: the status to exit with."""
        for backend, kinds in self._kinds.items():
            print(f"{backend}: {', '.join(f'{kinds[kind]} {kind}' for kind in sorted(kinds))}")
        for mode in self._modes:
            differing, unlisted = self._differing[mode], self._unlisted[mode]
            print(f"{mode}: {differing} tests differ, {unlisted} of them not listed")
        if self._without_tests:
            print(f"not compared, since they bring no tests: {', '.join(self._without_tests)}")
        if self._broken:
            print(f"not compared, since they broke off: {', '.join(self._broken)}")
        return 1 if self._broken or self._unlisted.total() else 0

    def _run(self, backend: str, labels: Sequence[str]) -> Outcomes:
        kept = {label: self._kept.find(backend, label) for label in labels}
        if missing := [label for label in labels if kept[label] is None]:
            outcomes = self._suite.run(backend, missing)
            strays = [test for test in outcomes if not any(_is_of(one, test) for one in missing)]
            if strays:
                raise SuiteError(f"{strays[0]} is in none of {', '.join(missing)}")
            for label in missing:
                own = {test: end for test, end in outcomes.items() if _is_of(label, test)}
                kept[label] = own
                self._kept.keep(backend, label, own)
        return {test: end for own in kept.values() for test, end in (own or {}).items()}

    def _look_at(self, mode: str, expected: Outcomes, found: Outcomes) -> tuple[int, int]:
        """Print the differences; returns how many there are, and how many are not listed."""
        differing = differences.find(expected, found)
        unlisted = {
            test for test, (_, end) in differing.items() if not self._is_listed(test, end, mode)
        }
        for test in unlisted - self._differ_alone(mode, unlisted):
            unlisted.remove(test)
            print(f"{mode}: {test} differs, but not when it runs alone")
        for test in sorted(unlisted):
            djangos, ours = differing[test]
            print(f"{mode}: {test}", f"    Django's: {djangos}", f"    ours: {ours}", sep="\n")
        for test in differences.without_difference(self._listed, mode, found, list(differing)):
            print(f"{mode}: {test} is listed, but does not differ")
        return len(differing), len(unlisted)

    def _differ_alone(self, mode: str, tests: Collection[str]) -> set[str]:
        """Of *tests*: some of Django's depend on the clock, or on those before them."""
        if not tests:
            return set()
        labels = sorted(set(map(_label, tests)))
        return set(
            differences.find(self._suite.run(REFERENCE, labels), self._suite.run(mode, labels))
        )

    def _is_listed(self, test: str, end: str, mode: str) -> bool:
        return any(one.covers(test, end, mode) for one in self._listed)


def _label(test: str) -> str:
    """What runs *test*, which may be the "setUpClass (app.tests.Case)" of a case."""
    if "::" in test:  # pytest's
        return test
    return test.partition("(")[2].rstrip(")") or test


def _is_of(label: str, test: str) -> bool:
    return f"{_label(test)}.".startswith((f"{label}.", f"{label}::"))
