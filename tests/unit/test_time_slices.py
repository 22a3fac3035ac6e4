"""A thread that has waited may borrow again ahead of the waiters, for a moment and no longer."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pooldaemon.pool.queue import limiter, time_slices
from tests.support.poll import wait_until
from tests.unit.fakes import DEADLINE, Pool, Task, give_back

ENDLESS = 3600.0


@pytest.fixture(autouse=True)
def long_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a return and the next borrow of the same thread there is no look."""
    monkeypatch.setattr(limiter, "POLL", 0.1)


class Queue:
    """A pool of one connection, which is lent, and threads that wait for it in this order."""

    def __init__(self, *works: Callable[[Pool], None]) -> None:
        self.pool = Pool(pool_size=1)
        self._held = self.pool.borrow()
        self._tasks = []
        for number, work in enumerate(works, 1):
            self._tasks.append(Task(work, self.pool))
            self.pool.wait_for_waiters(number)

    def serve(self) -> None:
        """Return the connection, and wait until all have done their work."""
        give_back(self._held)
        for task in self._tasks:
            task.result()


@pytest.fixture
def order() -> list[str]:
    return []


def three_times(name: str, order: list[str]) -> Callable[[Pool], None]:
    def work(pool: Pool) -> None:
        for _ in range(3):
            with pool.borrowed():
                order.append(name)

    return work


@pytest.mark.parametrize(
    ("seconds", "expected"), [(ENDLESS, "aaabbbccc"), (0.0, "abcabcabc")], ids=["during", "after"]
)
def test_until_the_end_of_its_slice_a_thread_borrows_ahead_of_the_waiters(
    monkeypatch: pytest.MonkeyPatch, order: list[str], seconds: float, expected: str
) -> None:
    monkeypatch.setattr(time_slices, "TIME_SLICE", seconds)
    Queue(*(three_times(name, order) for name in "abc")).serve()
    assert "".join(order) == expected


def test_a_connection_that_is_not_borrowed_again_reaches_the_waiters(
    monkeypatch: pytest.MonkeyPatch, order: list[str]
) -> None:
    monkeypatch.setattr(time_slices, "TIME_SLICE", ENDLESS)
    all_served = threading.Event()

    def once(pool: Pool) -> None:
        with pool.borrowed():
            order.append("served")
        all_served.wait(DEADLINE)  # it lives on, and needs no connection

    queue = Queue(once, once, once, once)
    waiting = Task(queue.serve)
    wait_until(lambda: len(order) == 4, DEADLINE, "a connection lies idle while a thread waits")
    all_served.set()
    waiting.result()
    assert queue.pool.driver.connects == 1


def test_a_thread_that_never_waited_does_not_overtake(
    monkeypatch: pytest.MonkeyPatch, order: list[str]
) -> None:
    monkeypatch.setattr(time_slices, "TIME_SLICE", ENDLESS)
    pool = Pool(pool_size=1)
    connection = pool.borrow()
    waiting = Task(three_times("a", order), pool)
    pool.wait_for_waiters(1)
    give_back(connection)
    with pool.borrowed():
        order.append("b")
    waiting.result()
    assert order[0] == "a"


def test_a_slice_counts_for_the_pool_in_which_the_thread_has_waited(
    monkeypatch: pytest.MonkeyPatch, order: list[str]
) -> None:
    monkeypatch.setattr(time_slices, "TIME_SLICE", ENDLESS)
    other = Pool(pool_size=1)
    held = other.borrow()
    first = Task(three_times("waiter", order), other)
    other.wait_for_waiters(1)
    fair: Any = other.managed._pool
    lock = fair._serving.take()  # nobody can hand over now
    give_back(held)

    def borrow_elsewhere(pool: Pool) -> None:
        with pool.borrowed():
            pass
        with other.borrowed():
            order.append("slice of another pool")

    served = Task(Queue(borrow_elsewhere).serve)
    wait_until(lambda: order or other.stats().waiting == 2, DEADLINE, "where is it?")
    del lock
    fair._hand_over()
    first.result()
    served.result()
    assert order[0] == "waiter"


def test_a_paused_pool_lends_nothing_in_a_slice_either(
    monkeypatch: pytest.MonkeyPatch, order: list[str]
) -> None:
    monkeypatch.setattr(time_slices, "TIME_SLICE", ENDLESS)

    def pause_after_the_first(pool: Pool) -> None:
        with pool.borrowed():
            order.append("before")
        pool.managed.pause()
        resuming = Task(resume, pool)
        with pool.borrowed():
            order.append("after")
        resuming.result()

    def resume(pool: Pool) -> None:
        pool.wait_for_waiters(2)
        order.append("resumed")
        pool.managed.resume()

    Queue(pause_after_the_first, lambda pool: give_back(pool.borrow())).serve()
    assert order == ["before", "resumed", "after"]


def park(connection: Any) -> Any:
    """Between two statements of transaction mode. Returns the affinity cache."""
    entry = connection._lender
    entry.affinity.park(connection, entry)
    return entry.affinity


@pytest.mark.parametrize("seconds", [ENDLESS, 0.0], ids=["during", "after"])
def test_a_parked_connection_is_kept_from_the_waiters_until_the_end_of_the_slice(
    monkeypatch: pytest.MonkeyPatch, order: list[str], seconds: float
) -> None:
    monkeypatch.setattr(time_slices, "TIME_SLICE", seconds)
    resumed = []

    def park_and_resume(pool: Pool) -> None:
        connection = pool.borrow()
        resumed.append(park(connection).resume(connection))
        give_back(connection)

    Queue(park_and_resume, three_times("waiter", order)).serve()
    assert resumed == [seconds > 0]
    assert order == ["waiter"] * 3


def test_a_connection_that_stays_parked_reaches_the_waiters(
    monkeypatch: pytest.MonkeyPatch, order: list[str]
) -> None:
    monkeypatch.setattr(time_slices, "TIME_SLICE", 0.05)
    done = threading.Event()

    def park_only(pool: Pool) -> None:
        connection = pool.borrow()
        park(connection)
        done.wait(DEADLINE)
        give_back(connection)

    waiting = Task(Queue(park_only, three_times("a", order), three_times("b", order)).serve)
    wait_until(lambda: len(order) == 6, DEADLINE, "a parked connection is kept")
    done.set()
    waiting.result()
