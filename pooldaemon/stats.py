"""Statistics of a pool, as plain frozen data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""Upper bounds of the histograms' buckets, in seconds, as recommended by OpenTelemetry's
conventions for database clients. A last bucket has no upper bound."""


@dataclass(frozen=True)
class Histogram:
    """A histogram of durations.

    :ivar counts: the number of durations in each bucket of :data:`BOUNDS`, and in the last bucket.
    :ivar total: the sum of all durations, in seconds.
    """

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    total: float = 0.0

    @property
    def count(self) -> int:
        """The number of all durations."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The upper bound of the bucket that has the quantile *share*, in seconds.

        :param share: from 0 to 1: 0.95 for P95.
        :returns: infinity for the last bucket, ``None`` if the histogram is empty.
        """
        wanted = share * self.count
        below = 0
        for count, bound in zip(self.counts, (*BOUNDS, math.inf), strict=True):
            below += count
            if count and below >= wanted:
                return bound
        return None


@dataclass(frozen=True)
class Holder:
    """A thread that holds a connection.

    :ivar thread: the thread's name.
    :ivar seconds: for how long it has held the connection.
    :ivar place: the call site that borrowed it: file, line and function.
    :ivar session: the session's id on the server; ``None`` if the database has no such ids.
    """

    thread: str
    seconds: float
    place: str
    session: int | None = None

    def __str__(self) -> str:
        return f"{self.thread} for {self.seconds:.1f} s, borrowed at {self.place}"


@dataclass(frozen=True)
class PoolStats:
    """A pool at one moment. Counters start at 0 when the pool is opened.

    For SQLAlchemy's own pool classes only ``name``, ``aliases``, ``poolclass``, ``total``, ``peak``
    and ``connects`` are known; the others have their defaults.

    :ivar name: the pool's name, without secrets.
    :ivar aliases: the aliases of the databases that have used it.
    :ivar poolclass: the name of its class.
    :ivar cap: the most connections that it may have; ``None`` if its class has no cap.
    :ivar total: the sessions that the server may have for it now, including those that are being
        opened or closed.
    :ivar peak: the highest *total* so far.
    :ivar in_use: borrowed connections.
    :ivar idle: open connections that are not borrowed.
    :ivar waiting: threads that wait for a connection.
    :ivar min_idle: the number of connections that stay open however long they are idle.
    :ivar paused: whether it lends no connections until it is resumed.
    :ivar holders: the threads that hold its connections, longest first.
    :ivar timeouts: borrows that have failed with ``PoolTimeout``.
    :ivar rejected: borrows that have failed with ``TooManyWaiters``.
    :ivar connects: connections opened.
    :ivar connect_errors: failed attempts to open a connection.
    :ivar discards: connections closed, by reason.
    :ivar resets: session resets.
    :ivar wait: how long borrowers have waited.
    :ivar use: how long connections have been held.
    :ivar connect: how long opening a connection has taken.
    """

    name: str
    poolclass: str
    cap: int | None
    total: int
    peak: int
    connects: int
    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    min_idle: int = 0
    paused: bool = False
    holders: tuple[Holder, ...] = ()
    timeouts: int = 0
    rejected: int = 0
    connect_errors: int = 0
    discards: Mapping[str, int] = field(default_factory=dict)
    resets: int = 0
    wait: Histogram = Histogram()
    use: Histogram = Histogram()
    connect: Histogram = Histogram()
    aliases: tuple[str, ...] = ()
