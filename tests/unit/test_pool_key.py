"""Pools are found by the parameters of their connections, and nobody sees a password."""

from typing import Any

import pytest

from pooldaemon.conf import ALL
from pooldaemon.pool.config import PoolConfig, read_pool_config
from pooldaemon.pool.queue.limiter import ConnectionLimiter
from pooldaemon.pool.registry import ManagedPool, PoolKey, PoolRegistry
from tests.unit.fakes import FakeDialect, FakeDriver

SECRET = "s3cret-of-the-tests"


def config(**options: Any) -> PoolConfig:
    read = read_pool_config("default", options)
    assert read is not None
    return read


def build(config: PoolConfig, limiter: ConnectionLimiter) -> ManagedPool:
    return ManagedPool("fake", config, FakeDialect(FakeDriver()), limiter)


def test_equal_parameters_are_one_key_in_whatever_order_they_stand() -> None:
    one = PoolKey({"host": "a", "ssl": {"ca": "x", "cert": "y"}, "list": [1, [2]]})
    two = PoolKey({"list": [1, [2]], "ssl": {"cert": "y", "ca": "x"}, "host": "a"})
    assert one == two
    assert hash(one) == hash(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"db": "shop"}, {"db": "test_shop"}),
        ({"passwd": "a"}, {"passwd": "b"}),
        ({"port": 3306}, {"port": "3306"}),
        ({"flag": True}, {"flag": 1}),
        ({"ssl": {"ca": "x"}}, {"ssl": {"ca": "y"}}),
        ({"ssl": {"ca": "x"}}, {"ssl": {}}),
        ({}, {"db": None}),
        (["ab", "c"], ["a", "bc"]),
    ],
)
def test_different_parameters_are_different_keys(one: Any, two: Any) -> None:
    assert PoolKey(one) != PoolKey(two)


def test_parameters_that_cannot_be_hashed_are_compared_by_identity() -> None:
    values = {1, 2}
    assert PoolKey({"v": values}) == PoolKey({"v": values})
    assert PoolKey({"v": values}) != PoolKey({"v": {1, 2}})


def test_a_class_of_pool_may_have_arguments_that_cannot_be_hashed() -> None:
    def read() -> PoolConfig:
        return config(poolclass="tests.unit.test_pool_config.CappedPool", tags=["a"])

    assert PoolKey(read()) == PoolKey(read())


def test_a_key_is_equal_to_nothing_else() -> None:
    assert PoolKey("a") != ("a",)


def test_a_key_shows_no_secret() -> None:
    key = PoolKey({"passwd": SECRET}, [SECRET])
    for text in (repr(key), str(key), f"{key}", f"{[key]}"):
        assert SECRET not in text


def test_a_registry_gives_one_pool_to_equal_keys_and_others_to_others() -> None:
    registry = PoolRegistry()
    pool = registry.get(PoolKey({"db": "a"}), config(), build)
    assert registry.get(PoolKey({"db": "a"}), config(), build) is pool
    assert registry.get(PoolKey({"db": "b"}), config(), build) is not pool
    assert len(registry.all()) == 2


def test_a_limit_holds_for_pools_to_come_and_ends_the_present_ones() -> None:
    registry = PoolRegistry()
    before = registry.get(PoolKey("a"), config(pool_size=50), build)
    epoch = registry.epoch
    registry.limit({ALL: 2, "replica": 3})
    assert registry.epoch != epoch
    assert registry.get(PoolKey("a"), config(pool_size=50), build) is not before
    sizes = {"default": 2, "replica": 3}
    for alias, size in sizes.items():
        limited = registry.limited(alias, config(pool_size=50))
        assert dict(limited.arguments)["pool_size"] == size
    registry.limit({})
    assert registry.limited("default", config(pool_size=50)) == config(pool_size=50)
