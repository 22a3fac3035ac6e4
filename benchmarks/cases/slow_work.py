"""Units that wait for something else between two queries: what few connections are enough for."""

from __future__ import annotations

import threading
import time
from functools import partial

from benchmarks import contenders as c
from benchmarks.bench import Bench
from benchmarks.measure import in_threads, interleave
from benchmarks.result import Bars, Check, Result

SLOW = 0.05
"""Seconds of other work between the two queries of a unit."""

STATEMENT = "SELECT 1"
RATE = "units/s"
FEWEST = "fewest units of a thread"
SHARES = "units per thread, max/min"


def run(bench: Bench) -> Result:
    rounds = bench.rounds(3)
    result = Result(
        "Slow work between queries",
        f"A unit is a query, {SLOW * 1000:g} ms of other work (sleep), a query, and the end of the "
        "unit. 64 threads run with a connection each (Django, persistent), and with 8 connections "
        "in both modes. 500 threads run with 16 connections in transaction mode. The run fails if "
        f"a thread waits longer than {c.PATIENCE} s for a connection.",
        rounds,
        plots=[Bars(RATE)],
    )
    _measure(bench, result, 64, 8)
    _measure(bench, result, 500, 16)
    section = _section(64, 8)
    result.compare(section, c.BY_TRANSACTION, c.PERSISTENT, RATE, at_least=0.95)
    result.compare(section, c.BY_TRANSACTION, c.OURS, RATE)
    crowded = _section(500, 16)
    worst = max(result.measure(crowded, c.BY_TRANSACTION, SHARES).values)
    result.comparisons.append(Check(f"{crowded}: {SHARES}, worst round", worst, at_most=2))
    return result


def _section(threads: int, size: int) -> str:
    return f"{threads} threads, {size} connections"


def _measure(bench: Bench, result: Result, threads: int, size: int) -> None:
    everybody = [c.by_transaction(bench.target, size)]
    if threads == 64:  # as many sessions as threads: not for a crowd
        everybody += [c.persistent(bench.target), c.ours(bench.target, size)]
    with c.opened(everybody, result.notes) as running:
        measure = partial(work, threads, bench.of(5.0, 1.0))
        measured = interleave(running, result.rounds, measure)
        for contender, values in zip(running, measured, strict=True):
            result.add(_section(threads, size), contender.label, values)


def work(threads: int, seconds: float, contender: c.Contender) -> dict[str, float]:
    end = 0.0

    def start() -> None:
        nonlocal end
        end = time.monotonic() + seconds

    ready = threading.Barrier(threads, start, c.PATIENCE)

    def run_units(_index: int) -> int:
        contender.borrow()  # the thread's own wrapper, and with Django its connection
        contender.done()
        ready.wait()
        units = 0
        try:
            while time.monotonic() < end:
                contender.query(STATEMENT)
                time.sleep(SLOW)
                contender.query(STATEMENT)
                contender.done()
                units += 1
        finally:
            contender.leave_thread()
        return units

    units = in_threads(threads, run_units)
    return {
        RATE: sum(units) / seconds,
        FEWEST: min(units),
        SHARES: max(units) / max(min(units), 1),
    }
