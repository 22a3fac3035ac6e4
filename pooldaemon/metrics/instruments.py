"""What Prometheus is told about a pool: names, texts, and where the numbers come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pooldaemon.metrics.pools import knows_its_queue
from pooldaemon.stats import Histogram, PoolStats


@dataclass(frozen=True)
class Number:
    """A gauge or a counter.

    :ivar label: by which it is divided beside the pool's name; empty: it is not.
    :ivar read: the values, by that label's.
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
        "Sessions that the server may hold for the pool, those being opened or closed included.",
        lambda pool: {"": pool.total},
    ),
    Number(
        "pooldaemon_pool_connections",
        "Connections that are borrowed (used), and that are open and free (idle).",
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
        "1 while the pool lends nothing until it is resumed.",
        _ours(lambda pool: pool.paused),
    ),
)

COUNTERS = (
    Number(
        "pooldaemon_pool_connects",
        "Sessions opened.",
        lambda pool: {"": pool.connects},
    ),
    Number(
        "pooldaemon_pool_connect_errors",
        "Attempts to open a session that failed.",
        _ours(lambda pool: pool.connect_errors),
    ),
    Number(
        "pooldaemon_pool_timeouts",
        "Borrowers that gave up waiting.",
        _ours(lambda pool: pool.timeouts),
    ),
    Number(
        "pooldaemon_pool_rejections",
        "Borrowers that met a full queue.",
        _ours(lambda pool: pool.rejected),
    ),
    Number(
        "pooldaemon_pool_resets",
        "Sessions that had to be reset for the next borrower.",
        _ours(lambda pool: pool.resets),
    ),
    Number(
        "pooldaemon_pool_discards",
        "Connections closed, by reason.",
        lambda pool: pool.discards,
        label="reason",
    ),
)
"""Their names get the ending ``_total``."""

HISTOGRAMS = (
    Times(
        "pooldaemon_pool_wait_seconds",
        "How long borrowers waited for a connection.",
        lambda pool: pool.wait,
    ),
    Times(
        "pooldaemon_pool_use_seconds",
        "How long a connection was borrowed.",
        lambda pool: pool.use,
    ),
    Times(
        "pooldaemon_pool_connect_seconds",
        "How long it took to open a session.",
        lambda pool: pool.connect,
    ),
)
"""Of pools that know their queue."""
