"""Timing in interleaved rounds, and threads that start together."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any, TypeVar

T = TypeVar("T")
C = TypeVar("C")

MICRO = 1e6


def time_each(seconds: float, unit: Callable[[], object]) -> list[float]:
    """Seconds that each call of *unit* takes, for so many seconds."""
    times = []
    now = perf_counter()
    end = now + seconds
    while now < end:
        unit()
        after = perf_counter()
        times.append(after - now)
        now = after
    return times


def interleave(
    contenders: Sequence[C], rounds: int, measure: Callable[[C], Mapping[str, float]]
) -> list[dict[str, list[float]]]:
    """*measure* each contender once a round, each round beginning with another one.

    :returns: per contender, in their order, the values of every quantity by round.
    """
    values: list[dict[str, list[float]]] = [{} for _ in contenders]
    for number in range(rounds):
        for place in range(len(contenders)):
            index = (number + place) % len(contenders)
            gc.collect()  # or one contender pays for what another left
            for quantity, value in measure(contenders[index]).items():
                values[index].setdefault(quantity, []).append(value)
    return values


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which *share* of the values lie."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def typical(times: Sequence[float]) -> float:
    """Median, in microseconds."""
    return median(times) * MICRO


def in_threads(number: int, work: Callable[[int], T]) -> list[T]:
    """Run *work* in so many threads that start together; what each returned.

    :raises BaseException: what the first thread that failed raised.
    """
    barrier = threading.Barrier(number)
    results: list[Any] = [None] * number
    errors: list[BaseException] = []

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = work(index)
        except BaseException as error:  # noqa: BLE001 - it is raised below, in the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=[index]) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
