"""No slot is lost and no wake-up is missed, whatever raises or races in between."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import Error as DjangoError
from django.db import connections

from pooldaemon.exceptions import PoolTimeout, TooManyWaiters
from tests.stress.conftest import MakeScratch
from tests.stress.load import Load, read_back
from tests.support.poll import wait_until
from tests.support.server import Server
from tests.unit.databases import AddDatabase
from tests.unit.fakes import Pool, Task, give_back

pytestmark = pytest.mark.mysql

DEADLINE = 30.0


class Interrupted(BaseException):
    """As a signal handler raises it, such as one that limits the time of a task."""


def test_a_borrow_that_is_interrupted_keeps_no_slot() -> None:
    pool = Pool(pool_size=1, timeout=0.5)
    give_back(pool.borrow())

    def interrupt() -> None:
        pool.driver.before_look = lambda: None
        raise Interrupted

    pool.driver.before_look = interrupt
    with pytest.raises(Interrupted):
        pool.borrow()
    with pool.borrowed():
        assert pool.stats().in_use == 1
    assert (pool.stats().in_use, pool.stats().idle) == (0, 1)


def test_a_return_that_is_interrupted_keeps_no_slot_and_no_unclean_session() -> None:
    pool = Pool(pool_size=1, timeout=0.5)
    borrowed = pool.borrow()
    unclean = borrowed.number

    def interrupt() -> None:
        pool.driver.before_reset = lambda: None
        raise Interrupted

    pool.driver.before_reset = interrupt
    with pytest.raises(Interrupted):
        give_back(borrowed)
    with pool.borrowed() as connection:
        assert connection.number != unclean
    assert (pool.stats().in_use, pool.stats().idle) == (0, 1)


def test_a_full_queue_costs_no_waiter_its_wake_up() -> None:
    """Borrowers come to a full queue all the time, while slots come back."""
    pool = Pool(pool_size=1, timeout=3, max_waiting=1)
    end = time.monotonic() + 3
    timeouts: list[PoolTimeout] = []

    def hurry() -> int:
        served = 0
        while time.monotonic() < end:
            try:
                give_back(pool.borrow())
            except TooManyWaiters:
                continue
            except PoolTimeout as error:
                timeouts.append(error)
            served += 1
        return served

    tasks = [Task(hurry) for _ in range(4)]
    for task in tasks:
        task.join(DEADLINE)
    assert sum(task.result() for task in tasks) > 100
    assert timeouts == []


def test_resizing_and_closing_all_the_time_costs_no_waiter_its_wake_up(
    add_database: AddDatabase, make_scratch: MakeScratch
) -> None:
    scratch = make_scratch()
    options = {"pool": {"pool_size": 2, "timeout": 5}}
    alias = add_database(**scratch.account.settings(OPTIONS=options))
    pool: Any = connections[alias].pool
    with Load(alias, [read_back], threads=8) as load:
        end = time.monotonic() + 3
        size = 1
        while time.monotonic() < end:
            pool.resize(size)
            pool.close()
            size = 3 - size
            goal = load.done + 5
            wait_until(lambda goal=goal: load.done >= goal, DEADLINE, "all wait")
    assert load.failures == []
    assert load.longest_wait < 3


def test_an_open_session_is_counted_at_every_moment(
    add_database: AddDatabase, make_scratch: MakeScratch
) -> None:
    """Else another thread passes the cap in the moment it is not."""
    scratch = make_scratch()
    options = {"pool": {"pool_size": 1, "timeout": 5}}
    alias = add_database(**scratch.account.settings(OPTIONS=options))
    dialect: Any = connections[alias].pool.dialect  # type: ignore[attr-defined]
    counts: list[int] = []

    class Watched(set[object]):
        def add(self, element: object) -> None:
            super().add(element)
            counts.append(len(self))

        def discard(self, element: object) -> None:
            super().discard(element)
            counts.append(len(self))

    dialect._sessions = Watched(dialect._sessions)
    connections[alias].ensure_connection()
    assert counts == [1]


def test_a_return_with_a_stopped_server_is_bounded_and_keeps_no_slot(
    on_server: Callable[..., tuple[Server, str]],
) -> None:
    timeouts = {"read_timeout": 1, "connect_timeout": 1}
    server, alias = on_server(timeouts, pool_size=1, timeout=5)
    with connections[alias].cursor() as cursor:
        cursor.execute("SET @a = 1")
    server.pause()
    threading.Timer(2.5, server.resume).start()
    started = time.monotonic()
    connections[alias].close()
    assert time.monotonic() - started < 3
    wait_until(lambda: answers(alias), DEADLINE, "no recovery")
    stats: Any = connections[alias].pool.stats()  # type: ignore[attr-defined]
    assert (stats.in_use, stats.idle) == (0, 1)


def answers(alias: str) -> bool:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT @a")
            return bool(cursor.fetchone() == (None,))
    except DjangoError:
        return False
    finally:
        connections[alias].close()
