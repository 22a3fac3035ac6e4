"""Runs in the child: what it tells of its pools and of its units under way, with each heartbeat."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from pooldaemon.connections import pool_stats
from pooldaemon.stats import Holder, PoolStats
from pooldaemon.workers.ipc.channel import Sender

MOST_POOLS = 16
"""Pools that are told of, the busiest: about half of what the pipe holds. What is important also
has to go through it."""

MOST_HOLDERS = 10

LONGEST_NAME, LONGEST_WORD, LONGEST_PLACE = 400, 100, 80
"""Characters of a pool's name, of others, and of a place."""

UNITS_PER_MESSAGE = 40

INTERVAL = 0.9
"""Seconds between two rounds at the least: a little less than between two heartbeats."""


class Reporter:
    """One per worker; thread-safe."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lock = threading.Lock()  # the messages of two rounds may not mix
        self._round = 0
        self._next = 0.0

    def beat(self, begun: Mapping[str, float]) -> None:
        """:meth:`tell`, if it is time."""
        if time.monotonic() >= self._next:
            self.tell(begun)

    def tell(self, begun: Mapping[str, float]) -> None:
        """
        :param begun: the threads that are inside a unit, and since when (monotonic clock).
        """
        now = time.monotonic()
        units = [(thread, round(now - since, 3)) for thread, since in begun.items()]
        pools = sorted(pool_stats(), key=lambda pool: (-pool.in_use, -pool.waiting, -pool.total))
        with self._lock:
            self._round += 1
            self._next = now + INTERVAL
            for pool in pools[:MOST_POOLS]:
                self._tell_pool(pool)
            for start in range(0, len(units), UNITS_PER_MESSAGE):
                some = units[start : start + UNITS_PER_MESSAGE]
                self._sender.send("units", round=self._round, units=some)
            self._sender.send("told", round=self._round)

    def _tell_pool(self, pool: PoolStats) -> None:
        told = describe(pool)
        while not self._sender.send("pool", round=self._round, pool=told) and told["holders"]:
            told["holders"].pop()


def describe(pool: PoolStats) -> dict[str, Any]:
    """As JSON takes it."""
    told = asdict(replace(pool, discards={}, holders=()))
    del told["aliases"]
    return {
        **told,
        "name": pool.name[:LONGEST_NAME],
        "alias": pool.aliases[0][:LONGEST_WORD] if pool.aliases else "",
        "discards": dict(pool.discards),
        "holders": [_describe_holder(holder) for holder in pool.holders[:MOST_HOLDERS]],
    }


def _describe_holder(holder: Holder) -> dict[str, Any]:
    place = holder.place
    return {
        "thread": holder.thread[:LONGEST_WORD],
        "seconds": round(holder.seconds, 3),
        # Its end says more than its beginning.
        "place": place if len(place) <= LONGEST_PLACE else f"…{place[-LONGEST_PLACE:]}",
    }
