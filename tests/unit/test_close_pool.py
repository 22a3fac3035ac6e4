"""close_pool, limits and statistics of all the pools of a process."""

import threading

import pytest
from django.db import connections, transaction
from django.utils.connection import ConnectionDoesNotExist

from pooldaemon import auto_close_db, close_pool, pool_stats
from pooldaemon.conf import ALL
from pooldaemon.connections import limit_connections, peak_connections, unpooled_aliases
from pooldaemon.exceptions import PoolTimeout
from pooldaemon.pool.registry import registry
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE, Task
from tests.unit.test_auto_close_db import ask, holds


def sessions(alias: str) -> int:
    """How many the database's pool has open."""
    pool = connections[alias].pool  # type: ignore[attr-defined]
    open_sessions: int = pool.dialect.open_sessions
    return open_sessions


def test_close_pool_returns_connections_and_closes(alias: str) -> None:
    ask(alias)
    assert sessions(alias) == 1
    close_pool()
    assert not holds(alias)
    assert sessions(alias) == 0
    assert ask(alias) == 7


def test_close_pool_of_one_database_leaves_the_others(add_sqlite: AddDatabase) -> None:
    one, two = add_sqlite("one"), add_sqlite("two")
    ask(one)
    ask(two)
    close_pool(one)
    assert not holds(one)
    assert holds(two)
    assert (sessions(one), sessions(two)) == (0, 1)


def test_close_pool_leaves_a_connection_inside_atomic_until_it_comes_back(alias: str) -> None:
    with transaction.atomic(using=alias):
        close_pool()
        close_pool(alias)
        assert ask(alias) == 7
        assert sessions(alias) == 1
    connections[alias].close()
    assert sessions(alias) == 0


def test_close_pool_leaves_what_another_thread_holds_until_it_comes_back(alias: str) -> None:
    holding, closed = threading.Event(), threading.Event()

    @auto_close_db
    def work() -> int:
        ask(alias)
        holding.set()
        closed.wait(DEADLINE)
        return ask(alias)

    task = Task(work)
    assert holding.wait(DEADLINE)
    close_pool()
    assert sessions(alias) == 1
    closed.set()
    assert task.result() == 7
    assert sessions(alias) == 0


def test_close_pool_names_a_database_that_does_not_exist() -> None:
    with pytest.raises(ConnectionDoesNotExist, match="no_such"):
        close_pool("no_such")


def test_close_pool_of_an_unpooled_database_closes_its_connection(
    add_database: AddDatabase,
) -> None:
    alias = add_database(ENGINE="django.db.backends.sqlite3", NAME=":memory:")
    ask(alias)
    close_pool(alias)
    close_pool()
    assert ask(alias) == 7


def test_a_limit_holds_whatever_the_settings_say_and_can_be_taken_back(
    add_sqlite: AddDatabase,
) -> None:
    alias = add_sqlite(pool_size=50)
    ask(alias)
    limit_connections({ALL: 1})
    assert ask(alias) == 7
    with pytest.raises(PoolTimeout):
        Task(auto_close_db(ask), alias).result()
    limit_connections({})
    ask(alias)
    assert Task(auto_close_db(ask), alias).result() == 7


def test_a_database_may_have_a_limit_of_its_own(add_sqlite: AddDatabase) -> None:
    one, two = add_sqlite("same"), add_sqlite("same")
    limit_connections({ALL: 1, two: 3})
    sizes = [
        dict(connections[alias].pool.config.arguments)["pool_size"]  # type: ignore[attr-defined]
        for alias in (one, two)
    ]
    assert sizes == [1, 3]


@pytest.mark.parametrize("poolclass", ["NullPool", "QueuePool", "SingletonThreadPool"])
def test_a_limit_holds_for_every_class_of_pool(add_database: AddDatabase, poolclass: str) -> None:
    settings = {"poolclass": poolclass}
    alias = add_database(
        ENGINE="pooldaemon.backends.sqlite3", NAME="never-opened", OPTIONS={"pool": settings}
    )
    limit_connections({ALL: 1})
    pool = connections[alias].pool  # type: ignore[attr-defined]
    assert dict(pool.config.arguments)["pool_size"] == 1
    assert dict(pool.config.arguments)["max_overflow"] == 0


def test_two_databases_of_equal_settings_share_one_pool(add_sqlite: AddDatabase) -> None:
    one, two, other = add_sqlite("same"), add_sqlite("same"), add_sqlite("other")
    pools = [connections[alias].pool for alias in (one, two, other)]  # type: ignore[attr-defined]
    assert pools[0] is pools[1]
    assert pools[0] is not pools[2]


def test_a_database_with_other_pool_settings_has_another_pool(add_sqlite: AddDatabase) -> None:
    one, two = add_sqlite("same"), add_sqlite("same", pool_size=2)
    assert connections[one].pool is not connections[two].pool  # type: ignore[attr-defined]


def test_changed_settings_are_followed_at_the_next_borrow(
    add_sqlite: AddDatabase, alias: str
) -> None:
    connection = connections[alias]
    first = connection.pool  # type: ignore[attr-defined]
    connection.settings_dict["NAME"] += ".other"
    second = connection.pool  # type: ignore[attr-defined]
    assert second is not first
    connection.settings_dict["OPTIONS"]["pool"]["pool_size"] = 3
    assert connection.pool is not second  # type: ignore[attr-defined]


def test_unpooled_databases_are_listed(add_database: AddDatabase, alias: str) -> None:
    memory = add_database(ENGINE="pooldaemon.backends.sqlite3", NAME=":memory:")
    off = add_database(ENGINE="pooldaemon.backends.sqlite3", NAME="x", OPTIONS={"pool": False})
    django = add_database(ENGINE="django.db.backends.sqlite3", NAME="x")
    unpooled = unpooled_aliases()
    assert {memory, off, django} <= set(unpooled)
    assert alias not in unpooled


def test_the_peak_of_connections_is_that_of_the_busiest_pool(add_sqlite: AddDatabase) -> None:
    one, two = add_sqlite("one"), add_sqlite("two")
    registry.limit({})
    assert peak_connections() == 0
    ask(one)
    ask(two)
    assert peak_connections() == 1
    Task(auto_close_db(ask), two).result()
    assert peak_connections() == 2
    close_pool()
    assert peak_connections() == 2


def test_statistics_name_each_pool(alias: str) -> None:
    ask(alias)
    (stats,) = [one for one in pool_stats() if "unit.sqlite3" in one.name]
    assert (stats.total, stats.in_use, stats.connects) == (1, 1, 1)
