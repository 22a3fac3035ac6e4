"""A paused pool lends nothing, loses nothing, and serves in order once it is resumed."""

import pytest

from pooldaemon.exceptions import PoolTimeout
from tests.unit.fakes import Pool, Task, give_back


def test_who_comes_waits_until_it_is_resumed_and_is_served_in_order() -> None:
    pool = Pool(pool_size=1)
    give_back(pool.borrow())
    order: list[int] = []

    def use(number: int) -> None:
        with pool.borrowed():
            order.append(number)

    pool.managed.pause()
    tasks = []
    for number in (1, 2, 3):
        tasks.append(Task(use, number))
        pool.wait_for_waiters(number)
    assert pool.stats().paused
    assert order == []
    pool.managed.resume()
    for task in tasks:
        task.result()
    assert order == [1, 2, 3]
    assert not pool.stats().paused


def test_what_is_in_use_goes_on_and_comes_back() -> None:
    pool = Pool(pool_size=2, timeout=0)
    borrowed = pool.borrow()
    pool.managed.pause()
    give_back(borrowed)
    stats = pool.stats()
    assert (stats.in_use, stats.idle) == (0, 1)
    with pytest.raises(PoolTimeout, match=r"paused: no connection .* until it is resumed"):
        pool.borrow()
    pool.managed.resume()
    give_back(pool.borrow())
    assert pool.driver.most_open == 1


def test_a_slot_without_a_connection_is_not_lent_either() -> None:
    pool = Pool(pool_size=1, timeout=0)
    pool.managed.pause()
    with pytest.raises(PoolTimeout):
        pool.borrow()
    assert pool.driver.most_open == 0


def test_a_thread_that_ends_meanwhile_leaves_room_for_who_waits() -> None:
    pool = Pool(pool_size=1)
    Task(pool.borrow).result()
    pool.managed.pause()
    waits = Task(pool.borrow)
    pool.wait_for_waiters(1)
    pool.managed.resume()
    give_back(waits.result())


def test_pausing_and_resuming_twice_is_like_once() -> None:
    pool = Pool(pool_size=1, timeout=0)
    for _ in range(2):
        pool.managed.pause()
    for _ in range(2):
        pool.managed.resume()
    give_back(pool.borrow())
