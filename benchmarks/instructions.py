#!/usr/bin/env python3
"""Guard the hot path: count its instructions, and fail if there are 5 % more than committed.

    benchmarks/instructions.py           compare with benchmarks/results/instructions.json
    benchmarks/instructions.py --write   put the measured numbers there, for this Python

Valgrind counts what the process executes outside the kernel. Unlike a time, that is the same on a
busy machine, and differs by less than a thousandth from run to run. It depends on how Python was
built. So there are numbers for each minor version, and they are compared on the same build only.

What differs by more is where names lie in memory: see ``hot_path``. So the fewest instructions of
three layouts are committed, and a case has failed if it has failed in each of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOT_PATH = ROOT / "benchmarks" / "hot_path.py"
COMMITTED = ROOT / "benchmarks" / "results" / "instructions.json"

ALLOWED = 0.05
"""The share by which a case may grow."""

FEW, MANY = 100, 500
"""Cycles of the two runs whose difference is measured."""

LAYOUTS = 3

PACKAGES = ("Django", "SQLAlchemy", "mysqlclient")

RENEW = "make bench-check ARGS=--write"


class SkippedError(Exception):
    """Nothing can be compared here; says why."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks/instructions.py", description="Count the instructions of the hot path."
    )
    parser.add_argument("--write", action="store_true", help="commit to what is measured now")
    options = parser.parse_args(arguments)
    minor = "{}.{}".format(*sys.version_info)
    known = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    try:
        if shutil.which("valgrind") is None:
            raise SkippedError("there is no valgrind (Debian's package has this name)")
        if not options.write:
            check_comparable(known.get(minor), surroundings(), minor)
        measured = {**surroundings(), "instructions": count(0)}
    except SkippedError as reason:
        print(f"bench-check: skipped: {reason}")
        return 0
    for layout in range(1, LAYOUTS):
        if options.write or compare(known[minor], measured)[1]:
            again = count(layout)
            measured["instructions"] = {
                case: min(number, again[case]) for case, number in measured["instructions"].items()
            }
    if options.write:
        text = json.dumps(known | {minor: measured}, indent=2, sort_keys=True)
        COMMITTED.write_text(f"{text}\n")
        print(f"bench-check: wrote {COMMITTED.relative_to(ROOT)} for Python {minor}")
        return 0
    lines, failed = compare(known[minor], measured)
    print("\n".join(lines))
    return 1 if failed else 0


def surroundings() -> dict[str, Any]:
    """What the numbers depend on beside the code that is guarded."""
    flags = re.findall(r"--(?:enable|with)-[\w-]+", sysconfig.get_config_var("CONFIG_ARGS") or "")
    build = [platform.python_compiler(), *sorted(set(flags))]
    return {
        "Python": f"{platform.python_version()} ({', '.join(build)})",
        "machine": platform.machine(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def check_comparable(
    committed: Mapping[str, Any] | None, here: Mapping[str, Any], minor: str
) -> None:
    """:raises SkippedError: there is no number for this interpreter."""
    if committed is None:
        raise SkippedError(f"no numbers are committed for Python {minor}; {RENEW} writes them")
    for name in ("Python", "machine"):
        if committed[name] != here[name]:
            raise SkippedError(
                f"the numbers for Python {minor} were counted with {name} {committed[name]}, and "
                f"this is {here[name]}"
            )


def compare(committed: Mapping[str, Any], measured: Mapping[str, Any]) -> tuple[list[str], bool]:
    """A line for each case, and what to do; and whether a case has become too expensive."""
    before, now = committed["instructions"], measured["instructions"]
    lines, grown = [], []
    for case in sorted(before.keys() | now.keys()):
        if case not in before or case not in now:
            grown.append(case)
            lines.append(f"{case:12} only {'measured' if case in now else 'committed'}")
            continue
        change = now[case] / before[case] - 1
        verdict = ""
        if now[case] > before[case] * (1 + ALLOWED):
            grown.append(case)
            verdict = f"  FAILED: more than {ALLOWED:+.0%}"
        lines.append(
            f"{case:12} committed {before[case]:7}, measured {now[case]:7} instructions per cycle, "
            f"{change:+.1%}{verdict}"
        )
    if grown:
        lines += [
            f"bench-check: failed: {', '.join(grown)}. If that is wanted, {RENEW}",
            "renews the numbers; say in the commit what it is for.",
        ]
        lines += [
            f"{name} was {of_committed} then and is {measured['packages'].get(name)} now."
            for name, of_committed in committed["packages"].items()
            if of_committed != measured["packages"].get(name)
        ]
    return lines, bool(grown)


def count(layout: int) -> dict[str, int]:
    """Instructions per cycle, by case.

    :param layout: where names lie in memory: see ``hot_path``.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    with TemporaryDirectory() as directory:
        command = [
            *("valgrind", "--quiet", "--tool=cachegrind", "--cache-sim=no"),
            f"--cachegrind-out-file={directory}/%p",
            *(sys.executable, str(HOT_PATH), *map(str, (layout, FEW, MANY))),
        ]
        ran = subprocess.run(
            command,
            env=environment | {"PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise SystemExit(f"bench-check: {HOT_PATH.name} failed:\n{ran.stdout}{ran.stderr}")
        counts: dict[str, dict[int, int]] = {}
        for pid, case, cycles in map(json.loads, ran.stdout.splitlines()):
            written = Path(directory, str(pid)).read_text()
            total = re.search(r"^summary: (\d+)$", written, re.MULTILINE)
            assert total is not None
            counts.setdefault(case, {})[cycles] = int(total[1])
    return {case: round((of[MANY] - of[FEW]) / (MANY - FEW)) for case, of in counts.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
