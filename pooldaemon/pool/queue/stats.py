"""A pool's :class:`~pooldaemon.stats.PoolStats`, summed up from the counters of its entries."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pooldaemon.pool.queue.entry import EntryStats, PoolEntry, sum_times
from pooldaemon.stats import Holder, PoolStats


def take_snapshot(
    entries: Sequence[PoolEntry], dropped: Sequence[EntryStats], **known: Any
) -> PoolStats:
    """Sum up. Takes no lock, so numbers that change meanwhile may differ by one.

    :param entries: the pool's entries.
    :param dropped: the counters of entries that no longer exist.
    :param known: the fields of :class:`PoolStats` that the pool knows itself.
    """
    stats = [*(entry.stats for entry in entries), *dropped]
    holders = _holders(entries)
    use = sum_times(one.use for one in stats)
    waited = sum_times(one.wait for one in stats)
    # Only borrowers that waited were counted; all others got a connection at once.
    at_once = max(0, use.count + len(holders) - waited.count)
    discards: Counter[str] = sum((one.discards for one in stats), Counter())
    return PoolStats(
        **known,
        connects=sum(sum(one.connect.counts) for one in stats),
        in_use=len(holders),
        holders=holders,
        discards=MappingProxyType(dict(discards)),
        resets=sum(one.resets for one in stats),
        wait=replace(waited, counts=(waited.counts[0] + at_once, *waited.counts[1:])),
        use=use,
        connect=sum_times(one.connect for one in stats),
    )


def _holders(entries: Sequence[PoolEntry]) -> tuple[Holder, ...]:
    """The present holders, the longest first."""
    now = time.monotonic()
    found = [
        Holder(
            holder.name,
            now - entry.held_since,
            entry.where(),
            getattr(entry.dbapi_connection, "session", None),
        )
        for entry in entries
        if (holder := entry.holder) is not None and not entry.parked
    ]
    return tuple(sorted(found, key=lambda holder: -holder.seconds))
