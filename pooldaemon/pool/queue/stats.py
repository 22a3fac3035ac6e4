"""From what a pool's slots have counted to one frozen :class:`~pooldaemon.stats.PoolStats`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pooldaemon.pool.queue.counters import SlotStats, sum_times
from pooldaemon.pool.queue.entry import Slot
from pooldaemon.stats import Holder, PoolStats


def take_snapshot(slots: Sequence[Slot], dropped: Sequence[SlotStats], **known: Any) -> PoolStats:
    """Sum up. Takes no lock: numbers that change meanwhile may be one apart.

    :param slots: those of the pool.
    :param dropped: what happened to slots that are no more.
    :param known: the fields of :class:`PoolStats` that the pool knows itself.
    """
    stats = [*(slot.stats for slot in slots), *dropped]
    holders = _holders(slots)
    use = sum_times(one.use for one in stats)
    waited = sum_times(one.wait for one in stats)
    # Only those who waited were counted; all others found a connection at once.
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


def _holders(slots: Sequence[Slot]) -> tuple[Holder, ...]:
    """Who has borrowed, the longest first."""
    now = time.monotonic()
    found = [
        Holder(
            holder.name,
            now - slot.held_since,
            slot.where(),
            getattr(slot.dbapi_connection, "session", None),
        )
        for slot in slots
        if (holder := slot.holder) is not None and not slot.parked
    ]
    return tuple(sorted(found, key=lambda holder: -holder.seconds))
