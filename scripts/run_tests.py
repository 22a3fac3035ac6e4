#!/usr/bin/env python3
"""Run the tests as `make test` does, and close with one line that counts them all.

With DATABASE_URL at a MySQL or MariaDB server: all tests there, then the example's once more on
SQLite, the embedded default. Without: all tests on SQLite.

    run_tests.py              as above
    run_tests.py --database   only the tests that use a database, on DATABASE_URL
    run_tests.py --again      with another interpreter or server, when all have passed: without
                              those marked ``once``, and ``sqlite`` where there is a server

Most tests wait for processes and servers more than they compute, so several run at a time. Those
marked ``alone`` change what all sessions of the server share, or need a quiet machine: they run one
after the other. What fails is run once more, alone. The lines of both runs are shown: a test that
fails once, on a machine that is too busy, is one to repair; one that fails again has failed.

Marked ``once`` is what neither another interpreter nor another server is likely to change: what an
operator sees, and what takes long. How threads, forks and signals work, and all that is said to the
server, is tested again.
"""

import os
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

SEVERAL = 3 * (os.cpu_count() or 1)
SELECTIONS = ("--database", "--again")
NEEDS_NO_DATABASE = ("unit", "support", "plugin", "packaging", "docs")
TESTS_FAILED = 1  # pytest's exit status when it ran and some failed
INTERRUPTED = 2  # pytest's exit status after Ctrl-C, and when a test file can't be read


@dataclass(frozen=True)
class Run:
    title: str
    database_url: str
    arguments: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    status: int
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def several_at_a_time(*unwanted: str) -> tuple[str, ...]:
    """:param unwanted: marks of tests that are left out."""
    marks = " and ".join(f"not {mark}" for mark in unwanted)
    return (f"--numprocesses={SEVERAL}", "--dist=worksteal", "-m", marks)


def plan(database_url: str, selection: str | None) -> list[Run]:
    parts = urlsplit(database_url)
    left_out: list[str] = []
    unwanted: list[str] = []
    if selection == "--database":
        left_out = [f"--ignore=tests/{name}" for name in NEEDS_NO_DATABASE]
    elif selection == "--again":
        unwanted = ["once"]
    if parts.scheme not in {"mysql", "mariadb"}:
        return [Run("SQLite", database_url, (*several_at_a_time(*unwanted), *left_out))]
    # Without user and password: this is printed.
    server = f"{parts.scheme}://{parts.hostname}:{parts.port or 3306}{parts.path}"
    if selection == "--again":
        unwanted += ["sqlite"]
    several = (*several_at_a_time("alone", *unwanted), *left_out)
    runs = [
        Run(f"{server}, several tests at a time", database_url, several),
        Run(f"{server}, one by one", database_url, ("-m", "alone", *left_out)),
    ]
    if selection is None:
        on_sqlite = (*several_at_a_time("mysql"), "tests/example")
        runs.append(Run("SQLite, several tests at a time", "", on_sqlite))
    return runs


def perform(run: Run, results: Path) -> Outcome:
    first = attempt(run, results)
    if first.status != TESTS_FAILED:
        return first
    alone = (*run.arguments, "--numprocesses=0", "--last-failed")
    again = attempt(Run(f"once more, alone: {run.title}", run.database_url, alone), results)
    return Outcome(again.status, first.passed + again.passed, again.failed, first.skipped)


def attempt(run: Run, results: Path) -> Outcome:
    results.unlink(missing_ok=True)
    print(f"\n--- {run.title}", flush=True)
    command = [sys.executable, "-m", "pytest", f"--junitxml={results}", *run.arguments]
    environment = {**os.environ, "DATABASE_URL": run.database_url}
    with subprocess.Popen(command, env=environment) as process:

        def interrupt(_signum: int, _frame: FrameType | None) -> None:
            # TERM would end pytest on the spot, and what its tests have started would stay.
            process.send_signal(signal.SIGINT)

        signal.signal(signal.SIGTERM, interrupt)
        status = process.wait()
    return count(status, results)


def count(status: int, results: Path) -> Outcome:
    """Read pytest's own report. A run that broke off counts as a failure, whatever it says."""
    if not results.exists():
        return Outcome(status or 1, failed=1)
    suites = ET.parse(results).getroot().findall("testsuite")
    total, failures, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites)
        for name in ("tests", "failures", "errors", "skipped")
    )
    passed = total - failures - errors - skipped
    return Outcome(status, passed, failures + errors or int(status != 0), skipped)


def main(arguments: Sequence[str]) -> int:
    selection = arguments[0] if arguments else None
    if len(arguments) > 1 or selection not in (None, *SELECTIONS):
        print(__doc__, file=sys.stderr)
        return 2
    # The terminal's Ctrl-C reaches pytest too, and pytest says when it has cleaned up. A function,
    # not SIG_IGN: that one pytest would inherit.
    signal.signal(signal.SIGINT, lambda _signum, _frame: None)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="test-results-") as directory:
        runs = plan(os.environ.get("DATABASE_URL", ""), selection)
        for number, run in enumerate(runs):
            outcomes.append(perform(run, Path(directory) / f"{number}.xml"))
            if outcomes[-1].status == INTERRUPTED:
                break
    passed, failed, skipped = (
        sum(getattr(outcome, name) for outcome in outcomes)
        for name in ("passed", "failed", "skipped")
    )
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
