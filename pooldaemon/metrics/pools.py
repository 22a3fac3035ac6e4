"""The pools for metrics: one for each name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

from pooldaemon.stats import Histogram, PoolStats


def by_name(pools: Iterable[PoolStats]) -> list[PoolStats]:
    """Add up pools of the same name, which differ in their settings: a name is a time series."""
    named: dict[str, list[PoolStats]] = {}
    for pool in pools:
        named.setdefault(pool.name, []).append(pool)
    return [reduce(_add, same) for same in named.values()]


def knows_its_queue(pool: PoolStats) -> bool:
    """Whether the pool is of this package's own class. SQLAlchemy's classes do not count waits, and
    a 0 would be misleading."""
    return pool.cap is not None


def _add(one: PoolStats, other: PoolStats) -> PoolStats:
    caps = [pool.cap for pool in (one, other) if pool.cap is not None]
    return replace(
        one,
        cap=sum(caps) if caps else None,
        total=one.total + other.total,
        peak=one.peak + other.peak,
        connects=one.connects + other.connects,
        in_use=one.in_use + other.in_use,
        idle=one.idle + other.idle,
        waiting=one.waiting + other.waiting,
        min_idle=one.min_idle + other.min_idle,
        paused=one.paused or other.paused,
        holders=(*one.holders, *other.holders),
        timeouts=one.timeouts + other.timeouts,
        rejected=one.rejected + other.rejected,
        connect_errors=one.connect_errors + other.connect_errors,
        discards=Counter(one.discards) + Counter(other.discards),
        resets=one.resets + other.resets,
        wait=_add_times(one.wait, other.wait),
        use=_add_times(one.use, other.use),
        connect=_add_times(one.connect, other.connect),
        aliases=(*one.aliases, *other.aliases),
    )


def _add_times(one: Histogram, other: Histogram) -> Histogram:
    counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
    return Histogram(counts, one.total + other.total)
