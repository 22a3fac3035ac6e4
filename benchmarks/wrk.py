"""HTTP clients that ask as fast as they are answered: the program wrk."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.result import Skipped

ANSWER = 30
"""Seconds after which wrk counts a request without an answer as an error."""

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Answers:
    """What the clients got.

    :ivar good: answers with a status of 2xx or 3xx.
    :ivar errors: other answers, and requests without one.
    :ivar seconds: how long they asked.
    :ivar slow: seconds within which 99 % of all answers came.
    """

    good: int
    errors: int
    seconds: float
    slow: float


def require() -> None:
    """:raises Skipped: wrk is not installed."""
    if shutil.which("wrk") is None:
        raise Skipped("it needs wrk (Debian's package wrk: scripts/system-packages load)")


def ask(url: str, clients: int, seconds: float, meanwhile: Callable[[], object]) -> Answers:
    """Let so many clients, each on a connection of its own that it keeps, ask for so long.

    :param seconds: whole ones; wrk knows no others.
    :param meanwhile: called 20 times a second until they have finished.
    :raises RuntimeError: wrk failed.
    """
    command = [
        "wrk",
        "--latency",
        "-t1",
        f"-c{clients}",
        f"-d{seconds:.0f}s",
        f"--timeout={ANSWER}s",
    ]
    with subprocess.Popen(
        [*command, url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            printed = _watch(process, meanwhile)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"wrk ended with {process.returncode}:\n{printed}")
    return parse(printed)


def _watch(process: subprocess.Popen[str], meanwhile: Callable[[], object]) -> str:
    while True:
        try:
            return process.communicate(timeout=0.05)[0]
        except subprocess.TimeoutExpired:
            meanwhile()


def parse(printed: str) -> Answers:
    """Read the figures from what wrk has printed.

    :raises ValueError: they are not there.
    """
    total = re.search(r"(\d+) requests in ([\d.]+)([a-z]+),", printed)
    slow = re.search(r"^ +99% +([\d.]+)([a-z]+) *$", printed, re.MULTILINE)
    if total is None or slow is None:
        raise ValueError(f"wrk has printed no figures:\n{printed}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    refused = int(bad[1]) if bad else 0
    # Only there if there were any: connect 0, read 12, write 0, timeout 0
    broken = re.search(r"Socket errors: (.+)", printed)
    unanswered = sum(map(int, re.findall(r"\d+", broken[1]))) if broken else 0
    return Answers(
        good=int(total[1]) - refused,
        errors=refused + unanswered,
        seconds=_seconds(total[2], total[3]),
        slow=_seconds(slow[1], slow[2]),
    )


def _seconds(number: str, unit: str) -> float:
    return float(number) * _UNITS[unit]
