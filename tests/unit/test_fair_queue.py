"""Our pool's queue: a hard cap, first come first served, and nobody forgotten."""

import contextlib
import ctypes
import gc
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pooldaemon.exceptions import PoolTimeout, TooManyWaiters
from pooldaemon.pool.tokens import Token, TokenLock
from tests.support.poll import wait_until
from tests.unit.fakes import DEADLINE, ConnectError, Pool, Task, give_back


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened at the end at the latest, so that no thread hangs on it."""
    event = threading.Event()
    yield event
    event.set()


def enqueue(pool: Pool, *functions: Callable[[], object]) -> list[Task]:
    """Start a thread for each, one after the other has taken its place in the queue."""
    tasks = []
    for number, function in enumerate(functions, 1):
        tasks.append(Task(function))
        pool.wait_for_waiters(number)
    return tasks


def test_the_cap_is_never_exceeded_by_many_threads() -> None:
    pool = Pool(pool_size=3, max_overflow=1)
    shuffled = random.Random(7)

    def work() -> None:
        for _ in range(100):
            with pool.borrowed() as connection:
                if shuffled.random() < 0.1:
                    connection.broken = True

    tasks = [Task(work) for _ in range(16)]
    for task in tasks:
        task.result()
    assert pool.driver.most_open <= 4
    assert pool.stats().in_use == 0


def test_waiters_are_served_in_the_order_they_came() -> None:
    pool = Pool(pool_size=1)
    order: list[int] = []

    def work(number: int) -> Callable[[], None]:
        def use() -> None:
            with pool.borrowed():
                order.append(number)

        return use

    first = pool.borrow()
    tasks = enqueue(pool, *(work(number) for number in range(8)))
    give_back(first)
    for task in tasks:
        task.result()
    assert order == list(range(8))


def test_a_busy_thread_does_not_overtake_those_who_wait() -> None:
    pool = Pool(pool_size=1)
    served = threading.Event()

    def wait_once() -> None:
        with pool.borrowed():
            served.set()

    connection = pool.borrow()
    enqueue(pool, wait_once)
    give_back(connection)
    with pool.borrowed():  # at once again: the one who waited has been before
        assert served.is_set()


def test_a_newcomer_does_not_take_what_is_on_its_way_to_a_waiter() -> None:
    pool = Pool(pool_size=1)
    order: list[str] = []

    def work(name: str) -> None:
        with pool.borrowed():
            order.append(name)

    connection = pool.borrow()
    (waiting,) = enqueue(pool, lambda: work("waiter"))
    fair: Any = pool.managed._pool
    lock = fair._serving.take()  # nobody can hand over now
    give_back(connection)
    newcomer = Task(work, "newcomer")
    wait_until(lambda: order or pool.stats().waiting == 2, DEADLINE, "where is it?")
    del lock
    fair._hand_over()
    newcomer.result()
    waiting.result()
    assert order == ["waiter", "newcomer"]


def test_a_returned_connection_wakes_its_waiter_long_before_the_timeout() -> None:
    pool = Pool(pool_size=1, timeout=60)
    connection = pool.borrow()
    (task,) = enqueue(pool, lambda: give_back(pool.borrow()))
    give_back(connection)
    task.result()  # Task's own deadline is far below 60 s
    assert pool.driver.connects == 1


def test_a_failed_connect_frees_its_slot_for_the_next_waiter_at_once(
    gate: threading.Event,
) -> None:
    pool = Pool(pool_size=1, timeout=60)
    connecting = threading.Event()

    def refuse() -> None:
        connecting.set()
        gate.wait(DEADLINE)
        pool.driver.before_connect = lambda: None
        raise ConnectError

    pool.driver.before_connect = refuse
    failing = Task(pool.borrow)
    assert connecting.wait(DEADLINE)
    (waiting,) = enqueue(pool, lambda: give_back(pool.borrow()))
    gate.set()
    with pytest.raises(ConnectError):
        failing.result()
    waiting.result()


def test_failing_connects_do_not_use_up_the_cap() -> None:
    pool = Pool(pool_size=2, timeout=0)

    def refuse() -> None:
        raise ConnectError

    pool.driver.before_connect = refuse
    for _ in range(5):
        with pytest.raises(ConnectError):
            pool.borrow()
    pool.driver.before_connect = lambda: None
    with pool.borrowed(), pool.borrowed():
        assert len(pool.driver.open) == 2


def test_a_slow_connect_does_not_hold_up_others(gate: threading.Event) -> None:
    pool = Pool(pool_size=2)
    connecting = threading.Event()

    def stall() -> None:
        connecting.set()
        gate.wait(DEADLINE)

    ready = pool.borrow()
    pool.driver.before_connect = stall
    slow = Task(pool.borrow)
    assert connecting.wait(DEADLINE)
    give_back(ready)
    with pool.borrowed() as connection:
        assert connection.number == 1
        assert not gate.is_set()
    gate.set()
    give_back(slow.result())


def test_a_full_queue_refuses_the_next_at_once() -> None:
    pool = Pool(pool_size=1, max_waiting=2, timeout=60)
    connection = pool.borrow()
    tasks = enqueue(pool, *[lambda: give_back(pool.borrow())] * 2)
    with pytest.raises(TooManyWaiters, match=r"fake app@host/db.* 2 waiting.*\(max_waiting=2\)"):
        pool.borrow()
    give_back(connection)
    for task in tasks:
        task.result()


def test_with_max_waiting_zero_nobody_waits() -> None:
    pool = Pool(pool_size=1, max_waiting=0, timeout=60)
    with pool.borrowed(), pytest.raises(TooManyWaiters):
        pool.borrow()
    with pool.borrowed():
        pass


def test_a_timeout_says_which_pool_how_long_and_who_holds_what() -> None:
    pool = Pool(pool_size=2, timeout=0.01)
    done = threading.Event()

    def hold() -> None:
        with pool.borrowed():
            done.wait(DEADLINE)

    holder = threading.Thread(target=hold, name="import-thread")
    holder.start()
    wait_until(lambda: pool.stats().in_use == 1, DEADLINE, "nobody holds a connection")
    with pool.borrowed(), pytest.raises(PoolTimeout) as caught:
        pool.borrow()
    done.set()
    holder.join()
    message = str(caught.value)
    for part in (
        "fake app@host/db",
        "2 in use",
        "0 idle",
        "cap 2",
        "timeout=0.01",
        "import-thread",
        threading.current_thread().name,
        "fakes.py",  # where these tests borrow
    ):
        assert part in message
    error = caught.value
    assert error.stats is not None
    assert 0.01 <= error.waited < DEADLINE
    assert (error.stats.cap, error.stats.in_use, error.stats.total) == (2, 2, 2)
    assert error.stats.holders[0].thread == "import-thread", "the longest first"


def test_a_timeout_has_the_last_connect_error() -> None:
    pool = Pool(pool_size=2, timeout=0)

    def refuse() -> None:
        raise ConnectError("no route to host")

    with pool.borrowed():
        pool.driver.before_connect = refuse
        with pytest.raises(ConnectError):
            pool.borrow()
        pool.managed.resize(1)
        with pytest.raises(PoolTimeout, match="no route to host") as caught:
            Task(pool.borrow).result()
    assert isinstance(caught.value.__cause__, ConnectError)


def test_a_timeout_does_not_have_a_connect_error_that_is_over() -> None:
    pool = Pool(pool_size=1, timeout=0)

    def refuse() -> None:
        raise ConnectError("no route to host")

    pool.driver.before_connect = refuse
    with pytest.raises(ConnectError):
        pool.borrow()
    pool.driver.before_connect = lambda: None
    with pool.borrowed(), pytest.raises(PoolTimeout) as caught:
        pool.borrow()
    assert "no route to host" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_waiter_that_gave_up_has_left_the_queue() -> None:
    pool = Pool(pool_size=1, timeout=0.01)
    with pool.borrowed():
        with pytest.raises(PoolTimeout):
            pool.borrow()
        assert pool.stats().waiting == 0
    with pool.borrowed() as connection:
        assert connection.number == 1


def test_a_timeout_of_zero_does_not_wait_and_still_borrows_what_is_free() -> None:
    pool = Pool(pool_size=1, timeout=0)
    with pool.borrowed(), pytest.raises(PoolTimeout):
        pool.borrow()
    with pool.borrowed():
        pass


class MeddledBaton(TokenLock):
    """The pool's. While it is held for the n-th time, something happens elsewhere."""

    def __init__(self, number: int, meddle: Callable[[], None]) -> None:
        super().__init__()
        self._left = number
        self.meddled = False
        self._meddle = meddle

    def take(self) -> Token | None:
        if (token := super().take()) is not None:
            self._left -= 1
            if self._left == 0:
                self.meddled = True
                Task(self._meddle).result()
        return token


@pytest.mark.parametrize("moment", range(1, 5))
@pytest.mark.parametrize("operation", ["refused", "timed out", "closed"])
def test_a_connection_that_comes_back_meanwhile_reaches_its_waiter(
    operation: str, moment: int
) -> None:
    pool = Pool(pool_size=1, max_waiting=1 if operation == "refused" else 2, timeout=60)
    connection = pool.borrow()
    connection.broken = True  # so that its slot comes back empty
    (task,) = enqueue(pool, lambda: give_back(pool.borrow()))
    fair: Any = pool.managed._pool
    lock = fair._serving = MeddledBaton(moment, lambda: give_back(connection))
    fair._timeout = 0
    if operation == "closed":
        pool.close()
    else:
        with contextlib.suppress(PoolTimeout, TooManyWaiters):
            give_back(pool.borrow())
    if not lock.meddled:
        give_back(connection)  # it was not held that often
    task.result()


def test_an_interrupted_waiter_leaves_the_queue_in_order() -> None:
    pool = Pool(pool_size=1, timeout=60)
    connection = pool.borrow()
    interrupted, patient = enqueue(pool, pool.borrow, lambda: give_back(pool.borrow()))
    # What Ctrl-C does to the main thread; it arrives when the wait ends, slot in hand.
    thread = ctypes.c_ulong(interrupted.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(KeyboardInterrupt))
    give_back(connection)
    with pytest.raises(KeyboardInterrupt):
        interrupted.result()
    patient.result()
    assert pool.stats().in_use == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RuntimeError])
def test_an_error_while_a_connection_is_looked_at_does_not_lose_its_slot(
    error: type[BaseException],
) -> None:
    pool = Pool(pool_size=1, timeout=0)
    give_back(pool.borrow())

    def fail() -> None:
        raise error

    pool.driver.before_look = fail
    with pytest.raises(error):
        pool.borrow()
    pool.driver.before_look = lambda: None
    give_back(pool.borrow())
    assert pool.stats().in_use == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RuntimeError])
def test_an_error_while_a_session_is_reset_does_not_lose_its_slot(
    error: type[BaseException],
) -> None:
    pool = Pool(pool_size=1, timeout=0)
    connection = pool.borrow()

    def fail() -> None:
        raise error

    pool.driver.before_reset = fail
    with contextlib.suppress(error):
        give_back(connection)
    pool.driver.before_reset = lambda: None
    with pool.borrowed() as replacement:
        assert replacement.number == 2, "a session of unknown state was handed out"
    assert len(pool.driver.open) <= 1


def test_a_lost_connection_comes_back_when_it_is_collected() -> None:
    pool = Pool(pool_size=1, timeout=0)

    class Cycle:
        def __init__(self) -> None:
            self.connection = pool.borrow()
            self.me = self

    gc.disable()
    try:
        Cycle()
        with pytest.raises(PoolTimeout):
            pool.borrow()
        gc.collect()
    finally:
        gc.enable()
    with pool.borrowed() as connection:
        assert connection.number == 2, "its session may hold whatever its borrower left there"
    assert pool.stats().discards == {"lost": 1}


def test_a_connection_lost_by_a_thread_that_ended_wakes_a_waiter() -> None:
    pool = Pool(pool_size=1, timeout=60)
    lost = [pool.borrow()]
    (task,) = enqueue(pool, lambda: give_back(pool.borrow()))
    lost.clear()
    gc.collect()
    task.result()


def test_to_return_twice_is_to_return_once() -> None:
    pool = Pool(pool_size=1, timeout=0)
    connection = pool.borrow()
    give_back(connection)
    give_back(connection)
    with pool.borrowed(), pytest.raises(PoolTimeout):
        pool.borrow()
