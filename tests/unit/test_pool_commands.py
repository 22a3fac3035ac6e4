"""Commands to pools: which pools carry them out, and which commands hold for later pools."""

import threading

import pytest
from django.db import connections

from pooldaemon.connections import close_paused_pools, control_pools, is_paused, pool_stats
from pooldaemon.pool.config import PoolConfig, read_pool_config
from pooldaemon.pool.registry import ManagedPool, PoolKey, PoolRegistry
from pooldaemon.pool_commands import PoolCommand, StandingCommands
from tests.unit.databases import AddDatabase
from tests.unit.fakes import FakeDialect, FakeDriver, Pool, Task, give_back

PAUSE, RESUME = PoolCommand("pause"), PoolCommand("resume")


def config(**options: object) -> PoolConfig:
    read = read_pool_config("default", options)
    assert read is not None
    return read


def open_pool(
    registry: PoolRegistry,
    name: str,
    alias: str,
    driver: FakeDriver | None = None,
    **options: object,
) -> ManagedPool:
    pool = registry.get(
        PoolKey(name),
        config(**options),
        lambda given, budget: ManagedPool(name, given, FakeDialect(driver or FakeDriver()), budget),
    )
    registry.introduce(pool, alias)
    return pool


@pytest.mark.parametrize(
    ("given", "stand"),
    [
        ([PAUSE], [PAUSE]),
        ([PAUSE, RESUME], []),
        ([PAUSE, PoolCommand("resume", "a")], [PAUSE, PoolCommand("resume", "a")]),
        ([PoolCommand("pause", "a"), PoolCommand("resume", "a")], []),
        ([PoolCommand("pause", "a"), PAUSE, PoolCommand("pause", "b"), RESUME], []),
        ([PoolCommand("reconnect")], []),
        (
            [PoolCommand("resize", "a", 1), PAUSE, PoolCommand("resize", "a", 2)],
            [PAUSE, PoolCommand("resize", "a", 2)],
        ),
        (
            [PoolCommand("resize", "a", 1), PoolCommand("resize", None, 2)],
            [PoolCommand("resize", None, 2)],
        ),
    ],
)
def test_a_later_order_about_the_same_takes_the_place_of_an_earlier_one(
    given: list[PoolCommand], stand: list[PoolCommand]
) -> None:
    standing = StandingCommands()
    for command in given:
        standing.add(command)
    assert list(standing) == stand


def test_an_order_is_for_a_name_an_alias_or_all() -> None:
    registry = PoolRegistry()
    first = open_pool(registry, "first", "default")
    second = open_pool(registry, "second", "replica")
    assert registry.carry_out(PoolCommand("pause", "replica")) == [("second", None)]
    assert (first.paused, second.paused) == (False, True)
    assert registry.carry_out(PoolCommand("pause", "first")) == [("first", None)]
    assert registry.carry_out(RESUME) == [("first", None), ("second", None)]
    assert (first.paused, second.paused) == (False, False)
    assert registry.carry_out(PoolCommand("pause", "third")) == []


def test_a_pool_that_is_opened_later_is_paused_and_resized_as_the_others() -> None:
    registry = PoolRegistry()
    for command in (PAUSE, PoolCommand("resume", "replica"), PoolCommand("resize", "replica", 3)):
        registry.carry_out(command)
    assert open_pool(registry, "first", "default").paused
    second = open_pool(registry, "second", "replica")
    assert (second.paused, second.stats().cap) == (False, 3)


def test_a_database_that_comes_to_a_pool_brings_its_commands() -> None:
    registry = PoolRegistry()
    registry.carry_out(PoolCommand("resize", "replica", 3))
    pool = open_pool(registry, "shared", "default")
    assert pool.stats().cap == 10
    assert open_pool(registry, "shared", "replica") is pool
    assert (pool.stats().cap, pool.stats().aliases) == (3, ("default", "replica"))


def test_a_pool_of_another_class_says_that_it_cannot_and_the_others_obey() -> None:
    registry = PoolRegistry()
    other = open_pool(registry, "other", "default", poolclass="QueuePool")
    fair = open_pool(registry, "fair", "replica")
    assert registry.carry_out(PAUSE) == [("other", "a QueuePool can't be paused"), ("fair", None)]
    assert (other.paused, fair.paused) == (False, True)
    assert open_pool(registry, "third", "default", poolclass="QueuePool").paused is False


def test_a_pause_closes_what_is_idle_and_the_rest_when_it_comes_back() -> None:
    pool = Pool(pool_size=2)
    idle, used = pool.borrow(), pool.borrow()
    give_back(idle)
    pool.managed.carry_out(PAUSE)
    assert (pool.stats().total, pool.stats().in_use) == (1, 1)
    give_back(used)
    assert pool.stats().total == 0


def test_who_was_served_just_before_a_pause_and_connects_in_it_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry, driver = PoolRegistry(), FakeDriver()
    monkeypatch.setattr("pooldaemon.connections.registry", registry)
    pool = open_pool(registry, "fake", "default", driver)
    give_back(pool.borrow())
    served, go_on = threading.Event(), threading.Event()

    def find_it_dead() -> None:
        served.set()
        assert go_on.wait(5)
        (connection,) = driver.open
        connection.alive = False

    driver.before_look = find_it_dead
    task = Task(lambda: give_back(pool.borrow()))
    assert served.wait(5)
    assert not close_paused_pools()
    registry.carry_out(PAUSE)
    go_on.set()
    task.result()
    assert pool.stats().total == 1
    assert close_paused_pools()
    assert (pool.stats().total, len(driver.open)) == (0, 0)


def test_reconnect_replaces_connections_and_lends_on() -> None:
    pool = Pool(pool_size=1)
    give_back(pool.borrow())
    pool.managed.carry_out(PoolCommand("reconnect"))
    assert pool.stats().total == 0
    give_back(pool.borrow())
    assert pool.stats().connects == 2


def test_the_pool_of_a_database_is_known_by_its_alias(add_sqlite: AddDatabase) -> None:
    alias = add_sqlite()
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
    connections[alias].close()
    try:
        ((name, refusal),) = control_pools(PoolCommand("pause", alias))
        assert (name, refusal, is_paused(alias)) == (connections[alias].pool.name, None, True)
        assert [pool.aliases for pool in pool_stats() if pool.name == name] == [(alias,)]
    finally:
        control_pools(RESUME)
    assert not is_paused(alias)
