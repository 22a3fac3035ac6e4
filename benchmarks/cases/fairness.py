"""64 threads on 4 connections: how even the shares are, and what evenness costs."""

from __future__ import annotations

from benchmarks import contenders as c
from benchmarks.bench import Bench
from benchmarks.crowd import Crowd, crowd
from benchmarks.measure import interleave
from benchmarks.result import Bars, Check, Lines, Result

THREADS = 64
CONNECTIONS = 4
WORK = {"SELECT 1": "SELECT 1", "5 ms": "SELECT SLEEP(0.005)"}
OWN = f"{CONNECTIONS} threads with their own"
RATE = "units/s"
SHARES = "units per thread, max/min"

Curves = dict[str, list[tuple[float, float]]]


def run(bench: Bench) -> Result:
    rounds = bench.rounds(2)
    seconds = bench.of(20.0, 2.0)
    shares: Curves = {}
    waits: Curves = {}
    result = Result(
        "Fairness",
        f"{THREADS} threads share {CONNECTIONS} connections for {seconds:g} s a round, in units "
        f"of SELECT 1 and of 5 ms (SELECT SLEEP(0.005)). For comparison, {CONNECTIONS} threads use "
        "Django's persistent connections and share nothing. A wait is the time of one borrow. "
        "For max/min a thread that finished no unit counts as if it had finished one.",
        rounds,
        plots=[
            Bars(RATE),
            Lines("thread, by units", "units in the last round", shares),
            Lines("share of borrows", "wait at most, ms", waits),
        ],
    )
    for title, statement in WORK.items():
        _measure(bench, result, (title, statement, seconds), shares, waits)
        result.compare(title, c.OURS, c.QUEUE_POOL, RATE, at_least=_least(title, "SELECT 1", 0.9))
        result.compare(title, c.OURS, OWN, RATE, at_least=_least(title, "5 ms", 0.95))
        # The worst round counts, not the median one.
        worst = max(result.measure(title, c.OURS, SHARES).values)
        name = f"{title}: {c.OURS}, {SHARES}, worst round"
        result.comparisons.append(Check(name, worst, at_most=1.2))
    return result


def _least(title: str, meant: str, target: float) -> float | None:
    return target if title == meant else None


def _measure(
    bench: Bench, result: Result, work: tuple[str, str, float], shares: Curves, waits: Curves
) -> None:
    title, statement, seconds = work
    sharing = [make(bench.target, size=CONNECTIONS) for make in (c.queue_pool, c.ours)]
    with c.opened([*sharing, c.persistent(bench.target)], result.notes) as running:

        def measure(contender: c.Contender) -> dict[str, float]:
            threads = CONNECTIONS if contender.label == c.PERSISTENT else THREADS
            got = crowd(contender, threads, seconds, statement)
            if threads == THREADS:
                shares[f"{title}: {contender.label}"] = _by_units(got)
                waits[f"{title}: {contender.label}"] = _by_wait(got)
            return got.figures()

        measured = interleave(running, result.rounds, measure)
        for contender, values in zip(running, measured, strict=True):
            row = OWN if contender.label == c.PERSISTENT else contender.label
            result.add(title, row, values)


def _by_units(got: Crowd) -> list[tuple[float, float]]:
    return [(number, units) for number, units in enumerate(sorted(got.units), 1)]


def _by_wait(got: Crowd) -> list[tuple[float, float]]:
    """Every hundredth, and the longest."""
    last = len(got.waits) - 1
    return [(share / 100, got.waits[last * share // 100] * 1000) for share in range(101)]
