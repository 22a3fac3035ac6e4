"""Many threads on few connections: who gets how much, and who waits how long."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, process_time

from benchmarks.contenders import PATIENCE, Contender
from benchmarks.measure import in_threads, quantile

PROCESSOR = "processor µs per unit"


@dataclass(frozen=True)
class Crowd:
    """What a crowd of threads got.

    :ivar units: units of work each thread finished in time.
    :ivar waits: seconds of every borrow, sorted.
    :ivar seconds: how long they worked.
    :ivar processor: seconds of processor time of this process, until the first thread ended.
    """

    units: Sequence[int]
    waits: Sequence[float]
    seconds: float
    processor: float

    def figures(self) -> dict[str, float]:
        return {
            "units/s": sum(self.units) / self.seconds,
            PROCESSOR: self.processor / max(sum(self.units), 1) * 1e6,
            # A thread that got nothing at all counts as if it had done one unit.
            "units per thread, max/min": max(self.units) / max(min(self.units), 1),
            "fewest units": min(self.units),
            "median wait, ms": quantile(self.waits, 0.5) * 1000,
            "99 % wait, ms": quantile(self.waits, 0.99) * 1000,
            "longest wait, ms": self.waits[-1] * 1000,
        }


def crowd(contender: Contender, threads: int, seconds: float, statement: str) -> Crowd:
    """Let so many threads do units of *statement* for so many seconds."""
    end = processor = 0.0

    def start() -> None:
        nonlocal end, processor
        end, processor = perf_counter() + seconds, process_time()

    # One end for all: with one each, late starters would work on after the others have left.
    ready = threading.Barrier(threads, start, PATIENCE)

    def work(_index: int) -> tuple[int, array[float], float]:
        contender.borrow()  # the thread's own wrapper is made here, not while time is taken
        contender.done()
        ready.wait()
        try:
            return _work(contender, end, statement)
        finally:
            contender.leave_thread()

    done = in_threads(threads, work)
    processor = min(ended for _, _, ended in done) - processor
    waits = sorted(wait for _, thread_waits, _ in done for wait in thread_waits)
    return Crowd([units for units, _, _ in done], waits, seconds, processor)


def _work(contender: Contender, end: float, statement: str) -> tuple[int, array[float], float]:
    units, waits = 0, array("d")
    started = perf_counter()
    while started < end:
        contender.borrow()
        waits.append(perf_counter() - started)
        contender.query(statement)
        contender.done()
        started = perf_counter()
        units += started < end
    return units, waits, process_time()
