"""What a pool tells about itself, as plain frozen data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""Upper bounds of the histograms' buckets, in seconds: those that OpenTelemetry's conventions
for database clients recommend. A last bucket takes what is longer."""


@dataclass(frozen=True)
class Histogram:
    """How long something took, how often.

    :ivar counts: per bucket of :data:`BOUNDS`, and one more for what took longer.
    :ivar total: the sum, in seconds.
    """

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    total: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The bound below which this share (0 to 1) of all lies: infinite for the last bucket,
        ``None`` if there is nothing."""
        wanted = share * self.count
        below = 0
        for count, bound in zip(self.counts, (*BOUNDS, math.inf), strict=True):
            below += count
            if count and below >= wanted:
                return bound
        return None


@dataclass(frozen=True)
class Holder:
    """Who has a connection.

    :ivar thread: its name.
    :ivar seconds: for how long.
    :ivar place: file, line and function that borrowed it.
    :ivar session: its number on the server; ``None`` if the database has none.
    """

    thread: str
    seconds: float
    place: str
    session: int | None = None

    def __str__(self) -> str:
        return f"{self.thread} for {self.seconds:.1f} s, borrowed at {self.place}"


@dataclass(frozen=True)
class PoolStats:
    """One pool at one moment. Counters count from its opening.

    :ivar name: without secrets.
    :ivar aliases: of the databases that have used it.
    :ivar poolclass: the class of SQLAlchemy pool.
    :ivar cap: the most connections it may have; ``None`` if its class has no limit.
    :ivar total: sessions that the server may hold for it now, those being opened or closed
        included.
    :ivar peak: the most there have been.
    :ivar in_use: borrowed.
    :ivar idle: open and free.
    :ivar waiting: threads in the queue.
    :ivar min_idle: so many stay open however long they are idle.
    :ivar paused: it lends nothing until it is resumed.
    :ivar holders: who has borrowed, longest first.
    :ivar timeouts: borrowers that gave up.
    :ivar rejected: that met a full queue.
    :ivar connects: sessions opened.
    :ivar connect_errors: attempts that failed.
    :ivar discards: connections closed, by reason.
    :ivar resets: sessions that had to be reset.
    :ivar wait: seconds borrowers waited.
    :ivar use: seconds they held one.
    :ivar connect: seconds a connection took to open.

    Of SQLAlchemy's own classes only name, class, total, peak and connects are known.
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
