"""Runs in the child: reports its pools and its running units to the supervisor."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from pooldaemon.connections import pool_stats
from pooldaemon.stats import Holder, PoolStats
from pooldaemon.workers.ipc.channel import Sender

MAX_POOLS = 16
"""Pools in a report, the busiest. Their messages fill about half of the pipe; the other half is
left for messages that must not be lost."""

MAX_HOLDERS = 10
"""Holders of connections in a report, for each pool."""

MAX_NAME, MAX_WORD, MAX_PLACE = 400, 100, 80
"""Characters of a pool's name, of aliases and threads, and of a call site."""

UNITS_PER_MESSAGE = 40

INTERVAL = 0.9
"""Seconds between two reports at least: a little less than between two heartbeats."""


class Reporter:
    """Sends reports, each in several messages with the same number. One per worker; thread-safe."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._lock = threading.Lock()  # the messages of two reports must not mix
        self._round = 0
        self._next = 0.0

    def report_if_due(self, begun: Mapping[str, float]) -> None:
        """:meth:`report`, unless the last report is less than :data:`INTERVAL` old."""
        if time.monotonic() >= self._next:
            self.report(begun)

    def report(self, begun: Mapping[str, float]) -> None:
        """Send a report now.

        :param begun: the threads that are in a unit, with its start on the monotonic clock.
        """
        now = time.monotonic()
        units = [(thread, round(now - since, 3)) for thread, since in begun.items()]
        pools = sorted(pool_stats(), key=lambda pool: (-pool.in_use, -pool.waiting, -pool.total))
        with self._lock:
            self._round += 1
            self._next = now + INTERVAL
            for pool in pools[:MAX_POOLS]:
                self._report_pool(pool)
            for start in range(0, len(units), UNITS_PER_MESSAGE):
                some = units[start : start + UNITS_PER_MESSAGE]
                self._sender.send("units", round=self._round, units=some)
            self._sender.send("report_end", round=self._round)

    def _report_pool(self, pool: PoolStats) -> None:
        state = describe(pool)
        while not self._sender.send("pool", round=self._round, pool=state) and state["holders"]:
            state["holders"].pop()


def describe(pool: PoolStats) -> dict[str, Any]:
    """*pool* as JSON, as ``status`` shows it. The longest texts are cut."""
    counters = asdict(replace(pool, discards={}, holders=()))
    del counters["aliases"]
    return {
        **counters,
        "name": pool.name[:MAX_NAME],
        "alias": pool.aliases[0][:MAX_WORD] if pool.aliases else "",
        "discards": dict(pool.discards),
        "holders": [_describe_holder(holder) for holder in pool.holders[:MAX_HOLDERS]],
    }


def _describe_holder(holder: Holder) -> dict[str, Any]:
    place = holder.place
    return {
        "thread": holder.thread[:MAX_WORD],
        "seconds": round(holder.seconds, 3),
        # Its end, the line and function, says more than the first folders of its path.
        "place": place if len(place) <= MAX_PLACE else f"…{place[-MAX_PLACE:]}",
    }
