"""Compare our backend with Django's by Django's own test suite, test by test.

Without APP, all of it. Fails if a test ends otherwise on our backend, in either mode, and
conformance/differences.toml does not list it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from conformance import differences
from conformance.backends import OURS, REFERENCE
from conformance.suite import Outcomes, Suite, SuiteError


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    parser.add_argument(
        "labels", nargs="*", metavar="APP", help="or a module, class or test, by its dotted path"
    )
    parser.add_argument("--mode", choices=OURS, action="append", help="default: each in turn")
    options = parser.parse_args(arguments)
    if not os.environ.get("DATABASE_URL", "").startswith(("mysql://", "mariadb://")):
        parser.error("DATABASE_URL must be mysql://user:password@host/name or mariadb://…")
    try:
        suite = Suite()
        expected = _run(suite, REFERENCE, options.labels)
        unlisted = [
            test
            for mode in options.mode or OURS
            for test in _compare(suite, mode, expected, _run(suite, mode, options.labels))
        ]
    except SuiteError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 1
    print(f"{len(unlisted)} differences that are not listed")
    return 1 if unlisted else 0


def _run(suite: Suite, backend: str, labels: Sequence[str]) -> Outcomes:
    started = time.monotonic()
    outcomes = suite.run(backend, labels)
    kinds = [differences.kind(outcome) for outcome in outcomes.values()]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    print(f"{backend}: {counts}, in {time.monotonic() - started:.0f} s", flush=True)
    return outcomes


def _compare(suite: Suite, mode: str, expected: Outcomes, found: Outcomes) -> list[str]:
    """Tell the differences; which ones are not listed."""
    listed = differences.read_list()
    differing = differences.find(expected, found)
    unlisted = [test for test in differing if not any(one.covers(test, mode) for one in listed)]
    if unlisted:
        # Once more, alone: some of Django's tests depend on the clock, or on those before them.
        labels = sorted({_label(test) for test in unlisted})
        again = differences.find(suite.run(REFERENCE, labels), suite.run(mode, labels))
        unlisted = [test for test in unlisted if test in again]
    for test in differing:
        if test in unlisted:
            djangos, ours = differing[test]
            print(f"{mode}: {test}", f"    Django's: {djangos}", f"    ours: {ours}", sep="\n")
    print(f"{mode}: {len(differing)} tests differ, {len(unlisted)} of them not listed", flush=True)
    for test in differences.without_difference(listed, mode, found, list(differing)):
        print(f"{mode}: {test} is listed, but does not differ")
    return unlisted


def _label(test: str) -> str:
    """What runs *test*, which may be the "setUpClass (app.tests.Case)" of a case."""
    return test.partition("(")[2].rstrip(")") or test


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
