"""A worker dies: how soon the next one works, and what workers cost in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from benchmarks.bench import Bench
from benchmarks.masters import OURS, THREADS, Master, everybody, started
from benchmarks.measure import interleave
from benchmarks.result import Bars, Result

WORKERS = 4
UNITS = 5
"""That each worker has done before it is looked at."""

RESPAWN = "ms from death to work"
MEMORY = "MiB per worker"
SECTIONS = {RESPAWN: "Respawn", MEMORY: "Memory"}


def run(bench: Bench) -> Result:
    rounds = bench.rounds(10)
    result = Result(
        "A worker dies",
        "All contenders run the Django project of the example on our backend; the unit of work is "
        "one query. The only worker kills itself with SIGKILL in the middle of a unit, while more "
        "work is waiting. The time is measured from there to the end of the first unit of its "
        f"replacement. Memory is the proportional set size of {WORKERS} workers that have worked: "
        "a page shared by two processes counts half for each, and so on. "
        f"Workers with threads have {THREADS} threads. "
        "Celery's broker needs no service: it is a directory that is polled 100 times a second.",
        rounds,
        notes=[
            (
                "pooldaemon delays the replacement of a worker that dies again within a minute; "
                "the others do not."
            ),
            (
                "Each new worker of the others queries the server for triggers. A worker of "
                "pooldaemon does so only if no other worker has within the last minute, as in "
                "this case."
            ),
        ],
        plots=[Bars(RESPAWN), Bars(MEMORY)],
    )

    def measure(master: Master) -> Mapping[str, float]:
        return {RESPAWN: _respawn(bench, master), MEMORY: _memory(bench, master)}

    masters = everybody()
    measured = interleave(masters, rounds, measure)
    for column, section in SECTIONS.items():
        for master, values in zip(masters, measured, strict=True):
            result.add(section, master.label, {column: values[column]})
        for master in masters[1:]:
            result.compare(section, OURS, master.label, column, at_most=1.0)
    return result


def _respawn(bench: Bench, master: Master) -> float:
    with started(master, 1, bench.target) as running:
        running.work_of(1, UNITS)
        return running.replace() * 1000


def _memory(bench: Bench, master: Master) -> float:
    with started(master, WORKERS, bench.target) as running:
        return mean(_proportional(pid) for pid in running.work_of(WORKERS, UNITS))


def _proportional(pid: int) -> float:
    """MiB, each page divided by the number of processes that have it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Pss":
            return int(value.split()[0]) / 1024
    raise RuntimeError("the system does not report a process's memory")
