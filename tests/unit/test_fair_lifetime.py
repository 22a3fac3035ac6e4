"""Our pool's connections: which are kept, which are closed, and that the cap survives it."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pooldaemon.exceptions import PoolTimeout
from pooldaemon.pool.queue import pool
from tests.unit.fakes import DEADLINE, ClosedError, Pool, Task, give_back


class Clock:
    """Stands in for the module time where the pool looks at it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pool, "time", clock)
    return clock


def number_of_next(pool: Pool) -> int:
    with pool.borrowed() as connection:
        number: int = connection.number
    return number


def test_a_connection_is_used_again() -> None:
    pool = Pool(pool_size=2)
    assert [number_of_next(pool) for _ in range(3)] == [1, 1, 1]
    assert pool.driver.connects == 1


def test_nothing_is_opened_before_somebody_borrows() -> None:
    assert Pool(pool_size=5).driver.connects == 0


def test_a_session_is_reset_at_each_return_and_before_it_is_idle() -> None:
    pool = Pool(pool_size=1)
    with pool.borrowed() as connection:
        assert connection.resets == 0
    with pool.borrowed() as connection:
        assert connection.resets == 1


def test_the_most_recently_used_is_handed_out_first_unless_told_otherwise() -> None:
    for use_lifo, expected in ((True, 2), (False, 1)):
        pool = Pool(pool_size=2, use_lifo=use_lifo)
        first, second = pool.borrow(), pool.borrow()
        give_back(first)
        give_back(second)
        assert number_of_next(pool) == expected


def test_connections_above_pool_size_are_closed_when_they_come_back() -> None:
    pool = Pool(pool_size=1, max_overflow=2, timeout=0)
    borrowed = [pool.borrow() for _ in range(3)]
    with pytest.raises(PoolTimeout):
        pool.borrow()
    for connection in borrowed:
        give_back(connection)
    assert len(pool.driver.open) == 1
    again = [pool.borrow() for _ in range(3)]
    assert len(pool.driver.open) == 3
    for connection in again:
        give_back(connection)


def test_a_connection_above_pool_size_goes_to_a_waiter_rather_than_being_closed() -> None:
    pool = Pool(pool_size=1, max_overflow=1)
    kept, extra = pool.borrow(), pool.borrow()
    task = Task(lambda: number_of_next(pool))
    pool.wait_for_waiters(1)
    give_back(extra)
    assert task.result() == 2
    give_back(kept)


def test_a_connection_is_replaced_when_its_lifetime_is_over(clock: Clock) -> None:
    pool = Pool(pool_size=1, recycle=100)
    assert number_of_next(pool) == 1
    clock.now += 89
    assert number_of_next(pool) == 1
    clock.now += 12
    assert number_of_next(pool) == 2
    assert len(pool.driver.open) == 1


def test_lifetimes_differ_a_little_so_that_not_all_end_at_once(clock: Clock) -> None:
    pool = Pool(pool_size=50, recycle=100, use_lifo=False)
    for connection in [pool.borrow() for _ in range(50)]:
        give_back(connection)
    clock.now += 95
    for connection in [pool.borrow() for _ in range(50)]:
        give_back(connection)
    assert 50 < pool.driver.connects < 100


def test_without_recycle_a_connection_lives_on(clock: Clock) -> None:
    pool = Pool(pool_size=1, recycle=-1, max_idle=-1)
    number_of_next(pool)
    clock.now += 1e9
    assert number_of_next(pool) == 1


def test_a_connection_idle_for_too_long_is_closed_when_another_comes_back(clock: Clock) -> None:
    pool = Pool(pool_size=3, max_idle=60, recycle=-1)
    for connection in [pool.borrow() for _ in range(3)]:
        give_back(connection)
    clock.now += 30
    number_of_next(pool)
    assert len(pool.driver.open) == 3
    clock.now += 31
    number_of_next(pool)
    assert len(pool.driver.open) == 1


def return_for_upkeep(pool: Pool, work: Callable[[Any], bool]) -> None:
    """The first connection comes back, and *work* is done on it."""
    dialect: Any = pool.managed.dialect
    dialect.upkeep = lambda connection, now: work
    number_of_next(pool)
    dialect.upkeep = lambda connection, now: None


def test_a_borrower_opens_no_other_connection_if_upkeep_ends_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = Pool(pool_size=2)
    end = threading.Event()
    upkeep = pool.managed._pool._upkeep  # type: ignore[union-attr]
    wait = upkeep.wait

    def end_then_wait(_: float) -> None:
        end.set()
        wait(DEADLINE)

    monkeypatch.setattr(upkeep, "wait", end_then_wait)
    return_for_upkeep(pool, lambda _: not end.wait(DEADLINE))
    try:
        assert number_of_next(pool) == 1
    finally:
        end.set()


def test_a_borrower_does_not_wait_for_upkeep_that_takes_long() -> None:
    pool = Pool(pool_size=2)
    end = threading.Event()
    return_for_upkeep(pool, lambda _: not end.wait(DEADLINE))
    try:
        assert number_of_next(pool) == 2
    finally:
        end.set()


def test_without_max_idle_nothing_is_closed_for_being_idle(clock: Clock) -> None:
    pool = Pool(pool_size=2, max_idle=-1, recycle=-1)
    for connection in [pool.borrow() for _ in range(2)]:
        give_back(connection)
    clock.now += 1e9
    number_of_next(pool)
    assert len(pool.driver.open) == 2


def test_a_broken_connection_is_closed_at_once() -> None:
    pool = Pool(pool_size=1)
    with pool.borrowed() as connection:
        connection.broken = True
    assert pool.driver.open == set()
    assert number_of_next(pool) == 2


def test_a_dead_connection_is_replaced_unseen() -> None:
    pool = Pool(pool_size=2)
    for connection in (pool.borrow(), pool.borrow()):
        connection.alive = False
        give_back(connection)
    assert number_of_next(pool) == 3
    assert pool.driver.most_open == 2


def test_closing_the_pool_closes_idle_connections_now() -> None:
    pool = Pool(pool_size=3)
    for connection in [pool.borrow() for _ in range(3)]:
        give_back(connection)
    pool.close()
    assert pool.driver.open == set()
    assert number_of_next(pool) == 4


def test_closing_the_pool_keeps_the_cap_while_connections_are_out() -> None:
    pool = Pool(pool_size=2, timeout=0)
    out = [pool.borrow(), pool.borrow()]
    for _ in range(3):
        pool.close()
    with pytest.raises(PoolTimeout):
        pool.borrow()
    assert out[0].number == 1, "a connection in use goes on working"
    for connection in out:
        give_back(connection)
    assert pool.driver.open == set(), "made before the close: closed when it comes back"
    with pool.borrowed(), pool.borrowed(), pytest.raises(PoolTimeout):
        pool.borrow()
    assert pool.driver.most_open == 2


def test_closing_the_pool_wakes_those_who_wait_for_what_it_closed() -> None:
    pool = Pool(pool_size=1, timeout=60)
    connection = pool.borrow()
    task = Task(lambda: number_of_next(pool))
    pool.wait_for_waiters(1)
    pool.close()
    give_back(connection)
    assert task.result() == 2


def test_a_connection_made_while_the_pool_is_closed_does_not_outlive_its_borrow() -> None:
    pool = Pool(pool_size=1)
    connecting, closed = threading.Event(), threading.Event()

    def stall() -> None:
        connecting.set()
        closed.wait(DEADLINE)

    pool.driver.before_connect = stall
    task = Task(pool.borrow)
    assert connecting.wait(DEADLINE)
    pool.close()
    closed.set()
    give_back(task.result())
    assert pool.driver.open == set()


def test_no_close_is_forgotten_when_many_threads_borrow_and_one_closes_the_pool() -> None:
    pool = Pool(pool_size=3)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with pool.borrowed():
                pass

    tasks = [Task(work) for _ in range(6)]
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pool.close()
    stop.set()
    for task in tasks:
        task.result()
    assert pool.driver.most_open <= 3
    pool.close()
    assert pool.driver.open == set()
    assert pool.managed.dialect.open_sessions == 0


def test_a_handle_is_dead_once_its_connection_is_returned() -> None:
    pool = Pool(pool_size=1)
    handle = pool.borrow()
    assert handle.number == 1
    give_back(handle)
    with pytest.raises(ClosedError, match="returned to the pool"):
        handle.number  # noqa: B018
    with pytest.raises(ClosedError, match="returned to the pool"):
        handle.alive = False
    assert "returned" in repr(handle)
    assert number_of_next(pool) == 1


def test_what_is_set_on_a_handle_is_set_on_the_connection() -> None:
    pool = Pool(pool_size=1)
    with pool.borrowed() as handle:
        handle.mark = "set"
        (connection,) = pool.driver.open
        assert connection.mark == "set"  # type: ignore[attr-defined]


def test_sessions_are_counted_now_and_at_their_peak() -> None:
    pool = Pool(pool_size=3)
    for connection in [pool.borrow() for _ in range(2)]:
        give_back(connection)
    dialect = pool.managed.dialect
    assert (dialect.open_sessions, dialect.peak_sessions) == (2, 2)
    pool.close()
    assert (dialect.open_sessions, dialect.peak_sessions) == (0, 2)
