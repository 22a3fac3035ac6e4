"""Borrow, ``SELECT 1``, return, in one thread: what a unit of work costs at least."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from statistics import mean
from typing import Any

from django.db import connections

from benchmarks import contenders as c
from benchmarks.bench import Bench
from benchmarks.measure import MICRO, interleave, time_each, typical
from benchmarks.result import Bars, Check, Result
from benchmarks.server import count_work

TIME = "µs per cycle"
MEAN = "mean µs"
SECTION = "Cycle"
ON_SERVER = "Counted by the server, per cycle"

ATTEMPTS = 5
"""Counts, of which the one with the fewest questions is reported: others who use the server at the
same time can only add to its counters."""

COLUMNS = {
    "Questions": "questions",
    "Connections": "connects",
    "Com_admin_commands": "admin commands (pings)",
    "Bytes_received": "bytes received",
}


def run(bench: Bench) -> Result:
    rounds = bench.rounds(30)
    result = Result(
        "Hot cycle",
        "One thread borrows a connection, runs SELECT 1, fetches the row and returns the "
        "connection. Contenders take turns within each round. The server's counters are read in "
        "separate runs. They include all clients of the server.",
        rounds,
        plots=[Bars(TIME)],
    )
    everybody: list[c.Contender] = [
        c.raw(bench.target),
        *c.field(bench.target, size=4),
        c.by_transaction(bench.target, size=4),
    ]
    with c.opened(everybody, result.notes) as running:
        measured = interleave(running, rounds, partial(time_cycles, bench.of(0.2, 0.05)))
        for contender, values in zip(running, measured, strict=True):
            result.add(SECTION, contender.label, values)
        for contender in running:
            counted = _count(bench, contender, bench.of(500, 100))
            result.add(ON_SERVER, contender.label, {k: [v] for k, v in counted.items()})
    _compare(result)
    return result


def cycle(contender: c.Contender) -> None:
    contender.query("SELECT 1")
    contender.done()


def time_cycles(seconds: float, contender: c.Contender) -> Mapping[str, float]:
    times = time_each(seconds, partial(cycle, contender))
    return {TIME: typical(times), MEAN: mean(times) * MICRO}


def _count(bench: Bench, contender: c.Contender, cycles: int) -> dict[str, float]:
    def work() -> None:
        for _ in range(cycles):
            cycle(contender)

    cycle(contender)  # so that a connection is there
    resets = _resets(contender)
    counts = [count_work(bench.target, work) for _ in range(ATTEMPTS)]
    fewest = min(counts, key=lambda count: count["Questions"])
    columns = {title: fewest[name] / cycles for name, title in COLUMNS.items()}
    if contender.label == c.OURS:
        columns["resets"] = (_resets(contender) - resets) / (cycles * ATTEMPTS)
    return columns


def _resets(contender: c.Contender) -> int:
    """The pool's own count: on a schema with triggers or views it resets at each return."""
    if contender.label != c.OURS or not isinstance(contender, c.DjangoContender):
        return 0
    wrapper: Any = connections[contender.alias]
    return int(wrapper.pool.stats().resets)


def _compare(result: Result) -> None:
    result.compare(SECTION, c.OURS, c.PERSISTENT, TIME, at_most=1.35)
    result.compare(SECTION, c.BY_TRANSACTION, c.PERSISTENT, TIME, at_most=1.5)
    result.compare(SECTION, c.OTHER_POOL, c.OURS, TIME, at_least=2.4)
    result.compare(SECTION, c.PER_REQUEST, c.OURS, TIME, at_least=8)
    result.compare(SECTION, c.OURS, c.RAW, TIME)
    for ours in (c.OURS, c.BY_TRANSACTION):
        for column, target in (("questions", 1), ("connects", 0), ("admin commands (pings)", 0)):
            value = result.measure(ON_SERVER, ours, column).median
            name = f"{ours}: {column} per cycle"
            result.comparisons.append(Check(name, value, at_most=target, at_least=target))
