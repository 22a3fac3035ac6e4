"""What a pool has done: counted per entry, where one thread writes, and summed when asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

from pooldaemon.stats import BOUNDS, Histogram


class Times:
    """A histogram being filled, by one thread at a time."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class EntryStats:
    """What has happened to one entry. Written by its holder alone, so without a lock."""

    __slots__ = ("connect", "discards", "resets", "use", "wait")

    def __init__(self) -> None:
        self.wait = Times()
        self.use = Times()
        self.connect = Times()
        self.discards: Counter[str] = Counter()
        self.resets = 0


def sum_times(times: Iterable[Times]) -> Histogram:
    known = list(times) or [Times()]
    counts = (sum(column) for column in zip(*(one.counts for one in known), strict=True))
    return Histogram(tuple(counts), sum(one.total for one in known))
