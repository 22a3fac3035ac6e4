"""What a borrow costs with more connections in the pool and more threads at it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from time import perf_counter, sleep, thread_time

from django.db import connections

from benchmarks import contenders as c
from benchmarks.bench import Bench
from benchmarks.crowd import PROCESSOR, crowd
from benchmarks.measure import in_threads, interleave, time_each, typical
from benchmarks.result import Check, Lines, Result

CONNECTIONS = (1, 10, 100)
THREADS = (1, 10, 100, 1000)
TURNS_PER_SECOND = 500
"""Of all threads together: little enough that nobody queues."""
BORROWS_PER_TURN = 50

COST = "µs per borrow and return"
BY_CONNECTIONS = "One thread, so many idle connections"
BY_THREADS = f"So many threads in turn, {BORROWS_PER_TURN} borrows each time, 10 connections"
FIRST = "So many threads in turn, one borrow each time, 10 connections"
CONTROL = "Python alone"
CONTROL_OBJECTS = 16
"""So many objects of its own a thread looks at, which takes about as long as a borrow."""
CROWDS = "SELECT 1 as fast as they can, pooldaemon"
FLAT = 1.2


def run(bench: Bench) -> Result:
    rounds = bench.rounds(5)
    result = Result(
        "Scaling",
        "The cost of a borrow and return, without a query and without waiting. By connections: "
        "elapsed time in one thread. By threads: processor time of the thread itself, so that "
        f"turns of other threads are not counted. There are {TURNS_PER_SECOND} turns a second, of "
        "all threads together, whatever their number. With one borrow per turn, most of the cost "
        "of many threads is that a thread's objects have left the processor's caches since its "
        f"last turn. For comparison, '{CONTROL}' runs plain code on objects of each thread, at the "
        "same pace and without sharing. In the last part threads want more connections than "
        "there are.",
        rounds,
    )
    for make in (c.queue_pool, c.ours):
        _by_connections(bench, result, make)
    for make in (c.queue_pool, c.ours):
        with c.opened([make(bench.target, size=10)], result.notes) as (contender,):
            _fill(contender, 10)
            _by_threads(bench, result, contender.label, partial(_borrow, contender))
    _by_threads(bench, result, CONTROL, _Control())
    _plot(result)
    for section, steps in ((BY_CONNECTIONS, CONNECTIONS), (BY_THREADS, THREADS)):
        costs = [result.measure(section, _row(c.OURS, step), COST).median for step in steps]
        name = f"{section}: {c.OURS}, dearest / cheapest"
        result.comparisons.append(Check(name, max(costs) / min(costs), at_most=FLAT))
    growths = [_growth(result, label) for label in (c.OURS, CONTROL)]
    name = f"One borrow each time, dearest / cheapest: {c.OURS} / {CONTROL}"
    result.comparisons.append(Check(name, growths[0] / growths[1]))
    _crowds(bench, result)
    return result


def _row(label: str, step: int) -> str:
    return f"{label}, {step}"


Make = Callable[..., c.DjangoContender]


def _by_connections(bench: Bench, result: Result, make: Make) -> None:
    pools = [make(bench.target, size=size) for size in CONNECTIONS]
    with c.opened(pools, result.notes) as running:
        for contender, size in zip(running, CONNECTIONS, strict=True):
            _fill(contender, size)

        def measure(contender: c.Contender) -> dict[str, float]:
            return {COST: typical(time_each(bench.of(0.2, 0.05), partial(_borrow, contender)))}

        measured = interleave(running, result.rounds, measure)
        for contender, size, values in zip(running, CONNECTIONS, measured, strict=True):
            result.add(BY_CONNECTIONS, _row(contender.label, size), values)


def _borrow(contender: c.Contender) -> None:
    contender.borrow()
    contender.done()


def _fill(contender: c.DjangoContender, size: int) -> None:
    """Leave so many idle connections in the pool."""
    wrappers = [connections[contender.alias].copy() for _ in range(size)]
    for wrapper in wrappers:
        wrapper.ensure_connection()
    for wrapper in wrappers:
        wrapper.close()


class _Control:
    """Plain Python on objects of the calling thread's own."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __call__(self) -> None:
        own = getattr(self._local, "own", None)
        if own is None:
            own = self._local.own = [_Own() for _ in range(CONTROL_OBJECTS)]
        for each in own:
            each.look()


class _Own:
    def __init__(self) -> None:
        self.count = 0
        self.known: dict[str, int] = {}
        self.queue: list[int] = []

    def look(self) -> None:
        self.count += 1
        self.known["count"] = self.count
        self.queue.append(self.count)
        self.queue.pop()


def _growth(result: Result, label: str) -> float:
    costs = [result.measure(FIRST, _row(label, step), COST).median for step in THREADS]
    return max(costs) / min(costs)


def _by_threads(bench: Bench, result: Result, label: str, work: Callable[[], object]) -> None:
    for section, in_a_row in ((BY_THREADS, BORROWS_PER_TURN), (FIRST, 1)):

        def measure(threads: int, in_a_row: int = in_a_row) -> dict[str, float]:
            return {COST: typical(_paced(work, in_a_row, threads, bench.of(1.0, 0.5)))}

        measured = interleave(THREADS, result.rounds, measure)
        for threads, values in zip(THREADS, measured, strict=True):
            result.add(section, _row(label, threads), values)


def _paced(unit: Callable[[], object], in_a_row: int, threads: int, seconds: float) -> list[float]:
    """Processor seconds per *unit*, the threads taking turns evenly over time."""
    ready = threading.Barrier(threads, timeout=c.PATIENCE)
    period = threads / TURNS_PER_SECOND

    def work(index: int) -> list[float]:
        unit()
        ready.wait()
        due = perf_counter() + index / TURNS_PER_SECOND
        end = due + max(seconds, 2 * period)
        times = []
        while due < end:
            sleep(max(0.0, due - perf_counter()))
            before = thread_time()
            for _ in range(in_a_row):
                unit()
            times.append((thread_time() - before) / in_a_row)
            due += period
        connections.close_all()
        return times

    return [time for times in in_threads(threads, work) for time in times]


def _crowds(bench: Bench, result: Result) -> None:
    """As fast as they can: shares and waits."""
    for size in CONNECTIONS:
        with c.opened([c.ours(bench.target, size=size)], result.notes) as (contender,):
            _fill(contender, size)

            def measure(threads: int, contender: c.Contender = contender) -> dict[str, float]:
                return crowd(contender, threads, bench.of(4.0, 0.5), "SELECT 1").figures()

            crowds = [threads for threads in THREADS if threads >= size]
            measured = interleave(crowds, result.rounds, measure)
            for threads, values in zip(crowds, measured, strict=True):
                result.add(CROWDS, _on(threads, size), values)
    for size in CONNECTIONS[:2]:
        few, many = (
            result.measure(CROWDS, _on(threads, size), PROCESSOR).median for threads in (10, 1000)
        )
        name = f"{CROWDS}: processor time per unit, {_on(1000, size)} / {_on(10, size)}"
        result.comparisons.append(Check(name, many / few, at_most=1.5))


def _on(threads: int, size: int) -> str:
    return f"{threads} on {size}"


def _plot(result: Result) -> None:
    pools = (c.QUEUE_POOL, c.OURS)
    for section, steps, x, labels in (
        (BY_CONNECTIONS, CONNECTIONS, "idle connections", pools),
        (BY_THREADS, THREADS, "threads", pools),
        (FIRST, THREADS, "threads", (*pools, CONTROL)),
    ):
        curves = {
            label: [(n, result.measure(section, _row(label, n), COST).median) for n in steps]
            for label in labels
        }
        result.plots.append(Lines(x, COST, curves, logarithmic=True))
