"""SQLAlchemy's own classes of pool behind our door."""

import threading

import pytest
from django.db import OperationalError

from pooldaemon.exceptions import PoolError, PoolTimeout
from tests.unit.fakes import DEADLINE, ClosedError, ConnectError, Pool, Task, give_back

CLASSES = ["FairQueuePool", "QueuePool", "NullPool", "SingletonThreadPool", "AssertionPool"]


@pytest.mark.parametrize("poolclass", CLASSES)
def test_every_class_resets_at_the_return_and_ends_the_handle(poolclass: str) -> None:
    pool = Pool(poolclass=poolclass)
    handle = pool.borrow()
    (connection,) = pool.driver.open
    assert (handle.number, connection.resets) == (1, 0)
    give_back(handle)
    assert connection.resets == 1
    with pytest.raises(ClosedError):
        handle.number  # noqa: B018


@pytest.mark.parametrize("poolclass", CLASSES)
def test_every_class_replaces_a_dead_connection_unseen(poolclass: str) -> None:
    pool = Pool(poolclass=poolclass)
    with pool.borrowed() as connection:
        connection.alive = False
    with pool.borrowed() as connection:
        assert connection.alive
        assert connection.number == 2
    assert pool.driver.most_open == 1


@pytest.mark.parametrize("poolclass", CLASSES)
def test_every_class_passes_the_drivers_error_on_and_recovers(poolclass: str) -> None:
    pool = Pool(poolclass=poolclass)

    def refuse() -> None:
        raise ConnectError

    pool.driver.before_connect = refuse
    for _ in range(3):
        with pytest.raises(ConnectError):
            pool.borrow()
    pool.driver.before_connect = lambda: None
    with pool.borrowed():
        assert len(pool.driver.open) == 1
    assert pool.managed.dialect.open_sessions == len(pool.driver.open)


@pytest.mark.parametrize("poolclass", CLASSES)
def test_every_class_closes_idle_connections_when_the_pool_is_closed(poolclass: str) -> None:
    pool = Pool(poolclass=poolclass)
    with pool.borrowed():
        pass
    pool.managed.facts["server"] = "old"
    pool.close()
    assert pool.driver.open == set()
    assert pool.managed.facts == {}
    with pool.borrowed() as connection:
        assert connection.number == 2


@pytest.mark.parametrize("poolclass", CLASSES)
def test_every_class_closes_what_was_being_opened_when_the_pool_was_closed(poolclass: str) -> None:
    pool = Pool(poolclass=poolclass)
    pool.driver.before_connect = pool.close
    give_back(pool.borrow())
    assert pool.driver.open == set()


@pytest.mark.parametrize("poolclass", CLASSES)
def test_every_class_leaves_a_connection_in_use_alone_until_it_comes_back(poolclass: str) -> None:
    pool = Pool(poolclass=poolclass)
    borrowed, closed = threading.Event(), threading.Event()

    def work() -> bool:
        with pool.borrowed():
            (connection,) = pool.driver.open
            borrowed.set()
            closed.wait(DEADLINE)
            return connection in pool.driver.open

    task = Task(work)
    assert borrowed.wait(DEADLINE)
    pool.close()
    closed.set()
    assert task.result(), "it was closed under its borrower's feet"
    assert pool.driver.open == set(), "it came back and was not closed"


@pytest.mark.parametrize("poolclass", CLASSES)
def test_every_class_closes_a_connection_whose_reset_failed(poolclass: str) -> None:
    pool = Pool(poolclass=poolclass)
    with pool.borrowed() as connection:
        connection.broken = True
        connection.alive = False
    with pool.borrowed() as connection:
        assert connection.number == 2


def test_a_timeout_of_a_queue_pool_is_a_database_error_that_names_the_pool() -> None:
    pool = Pool(poolclass="QueuePool", pool_size=1, max_overflow=0, timeout=0)
    with pool.borrowed(), pytest.raises(PoolTimeout, match="fake app@host/db") as caught:
        pool.borrow()
    assert isinstance(caught.value, OperationalError)


def test_a_null_pool_keeps_nothing_open() -> None:
    pool = Pool(poolclass="NullPool")
    with pool.borrowed(), pool.borrowed():
        assert len(pool.driver.open) == 2
    assert pool.driver.open == set()
    assert pool.managed.dialect.peak_sessions == 2


def test_a_singleton_thread_pool_has_one_connection_per_thread() -> None:
    pool = Pool(poolclass="SingletonThreadPool")

    def number() -> int:
        with pool.borrowed() as connection:
            result: int = connection.number
        return result

    assert number() == number() == 1
    assert Task(number).result() == 2


def test_an_assertion_pool_refuses_a_second_borrower() -> None:
    pool = Pool(poolclass="AssertionPool")
    with pool.borrowed(), pytest.raises(PoolError, match="fake app@host/db: "):
        pool.borrow()
