"""The Prometheus metrics of a pool: names, help texts, and the functions that read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pooldaemon.metrics.pools import knows_its_queue
from pooldaemon.stats import Histogram, PoolStats


@dataclass(frozen=True)
class Number:
    """A gauge or a counter.

    :ivar label: the name of a label in addition to the pool's name; empty: none.
    :ivar read: returns the values by the value of that label.
    """

    name: str
    help: str
    read: Callable[[PoolStats], Mapping[str, float]]
    label: str = ""


@dataclass(frozen=True)
class Times:
    """A histogram, in seconds."""

    name: str
    help: str
    read: Callable[[PoolStats], Histogram]


def _ours(read: Callable[[PoolStats], float]) -> Callable[[PoolStats], Mapping[str, float]]:
    return lambda pool: {"": read(pool)} if knows_its_queue(pool) else {}


GAUGES = (
    Number(
        "pooldaemon_pool_sessions",
        "Sessions that the server may have for the pool, including those being opened or closed.",
        lambda pool: {"": pool.total},
    ),
    Number(
        "pooldaemon_pool_connections",
        "Open connections: borrowed (used) and not borrowed (idle).",
        lambda pool: {"used": pool.in_use, "idle": pool.idle} if knows_its_queue(pool) else {},
        label="state",
    ),
    Number(
        "pooldaemon_pool_max_connections",
        "The cap: the most sessions that the pool may have.",
        lambda pool: {} if pool.cap is None else {"": pool.cap},
    ),
    Number(
        "pooldaemon_pool_waiting_threads",
        "Threads that wait for a connection.",
        _ours(lambda pool: pool.waiting),
    ),
    Number(
        "pooldaemon_pool_paused",
        "1 while the pool is paused.",
        _ours(lambda pool: pool.paused),
    ),
)

COUNTERS = (
    Number(
        "pooldaemon_pool_connects",
        "Connections opened.",
        lambda pool: {"": pool.connects},
    ),
    Number(
        "pooldaemon_pool_connect_errors",
        "Failed attempts to open a connection.",
        _ours(lambda pool: pool.connect_errors),
    ),
    Number(
        "pooldaemon_pool_timeouts",
        "Borrows that have failed with PoolTimeout.",
        _ours(lambda pool: pool.timeouts),
    ),
    Number(
        "pooldaemon_pool_rejections",
        "Borrows that have failed with TooManyWaiters.",
        _ours(lambda pool: pool.rejected),
    ),
    Number(
        "pooldaemon_pool_resets",
        "Session resets.",
        _ours(lambda pool: pool.resets),
    ),
    Number(
        "pooldaemon_pool_discards",
        "Connections closed, by reason.",
        lambda pool: pool.discards,
        label="reason",
    ),
)
"""``_total`` is appended to their names."""

HISTOGRAMS = (
    Times(
        "pooldaemon_pool_wait_seconds",
        "How long borrowers have waited for a connection.",
        lambda pool: pool.wait,
    ),
    Times(
        "pooldaemon_pool_use_seconds",
        "How long connections have been held.",
        lambda pool: pool.use,
    ),
    Times(
        "pooldaemon_pool_connect_seconds",
        "How long opening a connection has taken.",
        lambda pool: pool.connect,
    ),
)
"""Only for pools of this package's own class."""
