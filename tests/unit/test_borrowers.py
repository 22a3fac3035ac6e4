"""Whose connection is it: threads that end without returning theirs, and threads that wait for
themselves."""

import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pooldaemon.exceptions import PoolDeadlock, PoolTimeout
from pooldaemon.pool.queue import lease
from tests.unit.fakes import DEADLINE, FakeConnection, Pool, Task, give_back


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def lose(pool: Pool) -> FakeConnection:
    """Let a thread end with a connection in a cycle that only the collector takes apart."""

    def work() -> FakeConnection:
        cycle: list[Any] = [pool.borrow()]
        cycle.append(cycle)
        connection: FakeConnection = lease.physical(cycle[0])
        return connection

    connection: FakeConnection = Task(work).result()
    return connection


pytestmark = pytest.mark.usefixtures("_no_collector")


def test_a_waiting_thread_gets_the_place_of_one_that_ends() -> None:
    pool = Pool(pool_size=1, timeout=DEADLINE)
    borrowed, end = threading.Event(), threading.Event()

    def lose_later() -> None:
        cycle: list[Any] = [pool.borrow()]
        cycle.append(cycle)
        borrowed.set()
        end.wait(DEADLINE)

    loser = Task(lose_later)
    assert borrowed.wait(DEADLINE)
    waiter = Task(lambda: give_back(pool.borrow()))
    pool.wait_for_waiters(1)
    end.set()
    loser.result()
    waiter.result()
    assert pool.stats().in_use == 0


def test_a_thousand_threads_that_end_with_their_connections_need_no_collector() -> None:
    pool = Pool(pool_size=2, timeout=0)
    for _ in range(1000):
        lose(pool)
    assert pool.driver.most_open <= 2
    gc.collect()  # the lost handles die now, and must not return what is another's
    assert pool.stats().in_use <= 1
    with pool.borrowed(), ExitStack() as task:
        task.callback(give_back, Task(pool.borrow).result())
    assert pool.driver.most_open <= 2


def test_a_new_connection_is_the_occasion_to_close_what_was_left() -> None:
    pool = Pool(pool_size=3)
    lost = lose(pool)
    with pool.borrowed():
        assert lost not in pool.driver.open
        assert pool.stats().discards == {"thread ended": 1}
        assert pool.stats().in_use == 1


def test_closing_the_pool_closes_what_was_left() -> None:
    pool = Pool(pool_size=3)
    lose(pool)
    pool.close()
    assert pool.driver.open == set()
    assert pool.stats().in_use == 0


def test_a_warning_names_the_thread_and_the_place(caplog: pytest.LogCaptureFixture) -> None:
    pool = Pool(pool_size=1)
    lose(pool)
    with caplog.at_level(logging.WARNING, "pooldaemon.pool"), pool.borrowed():
        pass
    (record,) = caplog.records
    assert "fake app@host/db: the thread Thread-" in record.getMessage()
    assert "has ended without returning the connection" in record.getMessage()
    assert "fakes.py" in record.getMessage()
    assert " in borrow" in record.getMessage()


def test_what_a_thread_returned_is_not_taken_again(caplog: pytest.LogCaptureFixture) -> None:
    pool = Pool(pool_size=1)
    Task(lambda: give_back(pool.borrow())).result()
    with pool.borrowed():
        assert pool.driver.connects == 1
    assert caplog.records == []


def test_a_handle_returned_by_another_thread_is_not_reclaimed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = Pool(pool_size=1)
    # Its thread has ended: an orphan, but not for long.
    give_back(Task(pool.borrow).result())
    with pool.borrowed():
        pass
    assert pool.stats().in_use == 0
    assert caplog.records == []


def test_the_collector_may_come_first() -> None:
    pool = Pool(pool_size=1)
    lose(pool)
    gc.collect()
    with pool.borrowed():
        assert pool.stats().discards == {"lost": 1}


def test_what_threads_share_is_nobodys_to_reclaim() -> None:
    pool = Pool(pool_size=1, timeout=0)

    def borrow_and_share() -> Any:
        connection = pool.borrow()
        lease.share(connection)
        return connection

    shared = Task(borrow_and_share).result()
    with pytest.raises(PoolTimeout, match="several threads"):
        Task(pool.borrow).result()
    assert shared.number == 1
    give_back(shared)
    with pool.borrowed():
        assert pool.driver.connects == 1


def test_a_thread_that_waits_for_itself_gets_an_error_at_once() -> None:
    pool = Pool(pool_size=2, timeout=60)
    with pool.borrowed(), pool.borrowed(), pytest.raises(PoolDeadlock) as caught:
        pool.borrow()
    message = str(caught.value)
    for part in ("fake app@host/db", "wait for itself", "MainThread", "fakes.py", "2 in use"):
        assert part in message
    assert caught.value.waited == 0
    assert caught.value.stats is not None
    assert [one.thread for one in caught.value.stats.holders] == ["MainThread"] * 2
    assert pool.stats().waiting == 0


def test_of_threads_that_wait_for_each_other_one_gets_an_error_at_once() -> None:
    pool = Pool(pool_size=2, timeout=60)
    held = threading.Event()

    def hold_one_and_want_another() -> None:
        with pool.borrowed():
            held.set()
            with pool.borrowed():
                pass

    with pool.borrowed():
        other = Task(hold_one_and_want_another)
        assert held.wait(DEADLINE)
        pool.wait_for_waiters(1)
        with pytest.raises(PoolDeadlock):
            pool.borrow()
    other.result()  # it got ours


def test_a_thread_that_holds_one_may_wait_for_what_others_hold() -> None:
    pool = Pool(pool_size=2, timeout=60)
    borrowed, done = threading.Event(), threading.Event()

    def hold() -> None:
        with pool.borrowed():
            borrowed.set()
            done.wait(DEADLINE)

    def want_two() -> None:
        with pool.borrowed(), pool.borrowed():
            pass

    holder = Task(hold)
    assert borrowed.wait(DEADLINE)
    waiter = Task(want_two)
    pool.wait_for_waiters(1)
    done.set()
    holder.result()
    waiter.result()


def test_a_forked_child_owes_nothing_to_its_parents_pool() -> None:
    parents = Pool(pool_size=1)
    connection = parents.borrow()
    childs = Pool(pool_size=1, timeout=0)

    def check() -> None:
        with pytest.raises(PoolDeadlock), childs.borrowed():
            childs.borrow()

    assert in_child(check) == 0
    give_back(connection)
    with parents.borrowed():
        assert parents.driver.connects == 1


def in_child(check: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
