"""Pools of one name as one."""

from dataclasses import fields, replace
from typing import Any

from pooldaemon.metrics.pools import by_name, knows_its_queue
from pooldaemon.stats import BOUNDS, Histogram, PoolStats

NAME = "mysql app@host/db"
BUCKETS = len(BOUNDS) + 1


def pool(number: int) -> PoolStats:
    """One in which every number is this one."""
    whole = PoolStats(NAME, "FairQueuePool", number, number, number, number)
    values: dict[str, Any] = {
        field.name: number for field in fields(PoolStats) if field.type == "int"
    }
    times = Histogram((number,) * BUCKETS, float(number))
    kinds = {"discards": {"dead": number}, "wait": times, "use": times, "connect": times}
    return replace(whole, **values, **kinds)


def test_every_number_is_the_sum() -> None:
    assert by_name([pool(1), pool(10)]) == [pool(11)]


def test_one_is_paused_if_a_part_of_it_is() -> None:
    (merged,) = by_name([pool(1), replace(pool(1), paused=True)])
    assert merged.paused


def test_others_stay_apart() -> None:
    pools = [pool(1), replace(pool(2), name="other")]
    assert by_name(pools) == pools


def test_sqlalchemys_own_pool_adds_to_what_is_known() -> None:
    (merged,) = by_name([replace(pool(1), cap=None), pool(2)])
    assert merged.cap == 2
    assert knows_its_queue(merged)
    assert not knows_its_queue(replace(pool(1), cap=None))
