"""The example's daemon: 2 connections per process against one for each of its threads."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from benchmarks.bench import Bench
from benchmarks.measure import interleave
from benchmarks.result import Bars, Check, Result
from benchmarks.server import Target
from pooldaemon_example.webhooks.trial.children import managed

PROCESSES = 2
THREADS = 16
FEW = 2
LATENCY = 0.1
"""Seconds the receiver takes for a delivery."""

GRACE = 10.0
LIMIT = 300.0
"""Seconds after which a command that has not ended fails the run."""

SECTION = "Deliveries"
RATE = "deliveries/s"


def run(bench: Bench) -> Result:
    rounds = bench.rounds(3)
    number = bench.of(3000, 300)
    result = Result(
        "Deliveries of the example's daemon",
        f"rundaemon --until-idle with {PROCESSES} processes of {THREADS} threads makes {number} "
        f"deliveries to a receiver that takes {LATENCY * 1000:g} ms for each. It runs with {FEW} "
        f"and with {THREADS} connections per process in turn. The rate is measured from the first "
        "to the last recorded delivery.",
        rounds,
        plots=[Bars(RATE)],
    )
    caps = (FEW, THREADS)
    with tempfile.TemporaryDirectory(prefix="deliveries-") as directory:
        trial = _Trial(bench.target, Path(directory), number)
        trial.manage("migrate", "--verbosity=0")
        measured = interleave(caps, rounds, trial.deliver)
    for cap, values in zip(caps, measured, strict=True):
        result.add(SECTION, _row(cap), values)
    result.compare(SECTION, _row(FEW), _row(THREADS), RATE, at_least=0.9)
    most = max(result.measure(SECTION, _row(FEW), "most connections of a worker").values)
    result.comparisons.append(Check(f"Most connections of a worker capped at {FEW}", most, FEW))
    return result


def _row(cap: int) -> str:
    return f"{cap} connections per process"


class _Trial:
    """The example project on the benchmarks' database.

    :param directory: for the input and the commands' output.
    :param number: of deliveries in each run.
    """

    def __init__(self, target: Target, directory: Path, number: int) -> None:
        self._target = target
        self._log = directory / "log"
        self._input = directory / "deliveries.jsonl"
        self._number = number
        self._environment = {
            "DATABASE_URL": target.url(),
            "DJANGO_SETTINGS_MODULE": "pooldaemon_example.settings",
        }
        lines = (
            json.dumps({"url": f"/orders/{n}", "payload": {"order": n, "state": "shipped"}})
            for n in range(number)
        )
        self._input.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def deliver(self, cap: int) -> Mapping[str, float]:
        """One run of the daemon, from an empty table to all delivered."""
        self._query("TRUNCATE webhooks_delivery")
        with self._receiver() as url:
            self.manage("load_deliveries", str(self._input), f"--base-url={url}")
            output = self.manage(
                *("rundaemon", "--until-idle", f"--processes={PROCESSES}"),
                *(f"--threads={THREADS}", f"--max-connections={cap}"),
            )
            received = urllib3.request("GET", f"{url}/stats").json()
        if (received["accepted"], received["requests"]) != (self._number, self._number):
            raise RuntimeError(f"{self._number} deliveries, but the receiver counted {received}")
        return {RATE: self._rate(), "most connections of a worker": _most_connections(output)}

    def manage(self, *arguments: str) -> str:
        """Run a command of the example to its end; what it printed.

        :raises RuntimeError: it failed; with the end of its log.
        """
        with (
            self._log.open("w+", encoding="utf-8") as log,
            managed(
                list(arguments), self._environment, GRACE, stdout=subprocess.PIPE, stderr=log
            ) as child,
        ):
            printed, _ = child.communicate(timeout=LIMIT)
            if child.returncode:
                tail = self._log.read_text(encoding="utf-8")[-2000:]
                raise RuntimeError(f"{arguments[0]} ended with {child.returncode}:\n{tail}")
        return printed

    @contextmanager
    def _receiver(self) -> Iterator[str]:
        command = ["webhook_receiver", "--until-eof", "--port=0", f"--latency={LATENCY}"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with managed(command, self._environment, GRACE, **pipes) as child:
            assert child.stdout is not None
            yield child.stdout.readline().split()[-1]

    def _rate(self) -> float:
        (row,) = self._query(
            "SELECT COUNT(*) AS delivered, TIMESTAMPDIFF(MICROSECOND, MIN(finished_at),"
            " MAX(finished_at)) / 1e6 AS seconds FROM webhooks_delivery WHERE status = 'delivered'"
        )
        if row["delivered"] != self._number:
            raise RuntimeError(f"{row['delivered']} of {self._number} were delivered")
        return (self._number - 1) / float(row["seconds"])

    def _query(self, statement: str) -> list[dict[str, Any]]:
        with self._target.admin() as admin:
            admin.query(f"USE `{self._target.database}`")
            return admin.query(statement)


def _most_connections(output: str) -> int:
    """From the daemon's closing lines, one per worker."""
    return max(int(line.split("at most ")[1].split()[0]) for line in output.splitlines())
