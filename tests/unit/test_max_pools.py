"""MAX_POOLS: pools that nobody uses are forgotten, and nobody gets a forgotten one."""

import random
from pathlib import Path

import pytest
from django.db import connections
from pytest_django import Settings

from pooldaemon import close_pool, pool_stats, use_database
from pooldaemon.exceptions import ImproperlyConfigured, PoolRetired
from pooldaemon.pool.registry import registry
from tests.unit.databases import AddDatabase
from tests.unit.fakes import Pool, Task, give_back


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    return [str(tmp_path / f"tenant{number}") for number in range(5)]


@pytest.fixture
def alias(add_sqlite: AddDatabase, settings: Settings) -> str:
    settings.POOLDAEMON = {"MAX_POOLS": 3}
    return add_sqlite(timeout=10)


def ask(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")


def visit(alias: str, name: str) -> None:
    with use_database(alias, NAME=name):
        ask(alias)


def known() -> list[str]:
    return [Path(stats.name).name for stats in pool_stats()]


def test_the_pools_that_were_not_used_for_longest_are_forgotten_first(
    alias: str, names: list[str]
) -> None:
    for name in [*names[:3], names[0], names[3]]:
        visit(alias, name)
    assert sorted(known()) == ["tenant0", "tenant2", "tenant3"]


def test_a_pool_in_use_is_not_forgotten(alias: str, names: list[str]) -> None:
    ask(alias)
    session = connections[alias].connection
    for name in names:
        visit(alias, name)
    assert len(known()) == 3
    assert connections[alias].connection is session
    ask(alias)
    connections[alias].close()


def test_more_pools_than_the_limit_are_there_while_they_are_in_use(
    alias: str, names: list[str]
) -> None:
    with use_database(alias, NAME=names[0]):
        ask(alias)
        with use_database(alias, NAME=names[1]):
            ask(alias)
            with use_database(alias, NAME=names[2]):
                ask(alias)
                visit(alias, names[3])
                assert len(known()) == 4
    visit(alias, names[4])
    assert len(known()) == 3


def test_a_connection_object_whose_pool_was_forgotten_finds_the_next(
    alias: str, names: list[str]
) -> None:
    connection = connections[alias]
    ask(alias)
    connection.close()
    forgotten = connection.pool  # type: ignore[attr-defined]
    for name in names:
        visit(alias, name)
    with pytest.raises(PoolRetired, match="closed, since there are more pools than MAX_POOLS"):
        forgotten.borrow()
    # As after a look at the pool just before it was forgotten:
    known_pool = (registry.epoch, connection.settings_dict, forgotten)
    connection._known_pool = known_pool  # type: ignore[attr-defined]
    ask(alias)
    assert connection.pool is not forgotten  # type: ignore[attr-defined]
    connection.close()


def test_a_forgotten_pool_has_closed_its_connections(alias: str, names: list[str]) -> None:
    visit(alias, names[0])
    (pool,) = [stats for stats in pool_stats() if stats.name.endswith("tenant0")]
    assert pool.idle == 1
    with use_database(alias, NAME=names[0]):
        forgotten = connections[alias].pool  # type: ignore[attr-defined]
    for name in names[1:]:
        visit(alias, name)
    assert forgotten.stats().total == 0


@pytest.mark.parametrize("poolclass", ["QueuePool", "NullPool"])
def test_sqlalchemys_own_pools_are_forgotten_as_well(
    alias: str, names: list[str], poolclass: str
) -> None:
    options = {"pool": {"poolclass": poolclass}}
    for name in names:
        with use_database(alias, NAME=name, OPTIONS=options):
            ask(alias)
    assert len(known()) == 3


def test_a_pool_that_is_wanted_while_it_is_about_to_be_forgotten_stays() -> None:
    pool = Pool(pool_size=2)
    give_back(pool.borrow())
    dialect = pool.managed.dialect
    waiting: list[Task] = []

    def close_slowly(connection: object) -> None:
        waiting.append(Task(lambda: give_back(pool.borrow())))
        pool.wait_for_waiters(1)

    dialect._close = close_slowly  # type: ignore[method-assign]
    assert not pool.managed.retire()
    for task in waiting:
        task.result()
    assert pool.stats().in_use == 0


def test_many_threads_get_their_own_database_while_pools_come_and_go(
    alias: str, names: list[str]
) -> None:
    def own(name: str) -> str:
        with use_database(alias, NAME=name), connections[alias].cursor() as cursor:
            cursor.execute("PRAGMA database_list")
            return str(cursor.fetchone()[2])

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            name = chance.choice(names)
            assert own(name) == name

    for task in [Task(work, seed) for seed in range(8)]:
        task.result()
    visit(alias, names[0] + "new")
    assert len(known()) == 3
    assert sum(stats.in_use for stats in pool_stats()) == 0


@pytest.mark.parametrize("key", ["MAX_POOLS", "MAX_PROCESS_CONNECTIONS"])
def test_a_wrong_setting_is_reported_when_the_first_pool_is_needed(
    alias: str, settings: Settings, key: str
) -> None:
    settings.POOLDAEMON = {key: 0}
    with pytest.raises(ImproperlyConfigured, match=rf"POOLDAEMON\['{key}'\] is 0; it must be"):
        ask(alias)


def test_a_changed_limit_is_followed(alias: str, names: list[str], settings: Settings) -> None:
    close_pool()
    settings.POOLDAEMON = {"MAX_POOLS": 2, "MAX_PROCESS_CONNECTIONS": 1}
    for name in names:
        visit(alias, name)
    assert len(known()) == 2
    assert sum(stats.total for stats in pool_stats()) == 1
