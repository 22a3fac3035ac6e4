"""One limit for the connections of several pools: who gets the next, and that none is lost."""

import ctypes
import gc
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pooldaemon.exceptions import PoolDeadlock, PoolTimeout
from pooldaemon.pool.queue.borrowers import Borrower
from pooldaemon.pool.queue.limiter import ConnectionLimiter
from tests.support.poll import wait_until
from tests.unit.fakes import DEADLINE, ConnectError, FakeDriver, Pool, Task, give_back

LIMIT = 2

MakePool = Callable[..., Pool]


@pytest.fixture
def driver() -> FakeDriver:
    """Of all pools: so it counts their connections together."""
    return FakeDriver()


@pytest.fixture
def limiter() -> ConnectionLimiter:
    return ConnectionLimiter(LIMIT)


@pytest.fixture
def make_pool(driver: FakeDriver, limiter: ConnectionLimiter) -> MakePool:
    def make(name: str, **options: Any) -> Pool:
        return Pool(name, driver=driver, limiter=limiter, **{"timeout": 60, **options})

    return make


def use(pool: Pool) -> None:
    give_back(pool.borrow())


def test_many_threads_on_many_pools_never_have_more_than_the_limit(
    make_pool: MakePool, driver: FakeDriver, limiter: ConnectionLimiter
) -> None:
    pools = [make_pool(str(number), pool_size=2) for number in range(5)]

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(60):
            connection = chance.choice(pools).borrow()
            connection.broken = chance.random() < 0.1
            connection.alive = chance.random() > 0.1
            give_back(connection)

    for task in [Task(work, seed) for seed in range(12)]:
        task.result()
    assert driver.most_open == LIMIT
    assert [pool.stats().timeouts for pool in pools] == [0] * 5
    for pool in pools:
        pool.close()
    assert limiter.has_room(0)
    assert len(limiter._free) == LIMIT, "a permit was lost"
    assert not limiter.queue


def test_the_connection_that_was_idle_for_longest_makes_room(make_pool: MakePool) -> None:
    first, second, third = make_pool("first"), make_pool("second"), make_pool("third")
    for pool in (first, second, third):
        use(pool)
    assert [pool.stats().idle for pool in (first, second, third)] == [0, 1, 1]
    assert first.stats().discards == {"process limit": 1}


def test_who_does_not_wait_gets_the_place_of_an_idle_connection(make_pool: MakePool) -> None:
    first, second, third = make_pool("first"), make_pool("second"), make_pool("third", timeout=0)
    for pool in (first, second, third):
        use(pool)


def test_a_connection_returned_elsewhere_makes_room_at_once(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    busy, other = make_pool("busy"), make_pool("other")
    connections = [busy.borrow() for _ in range(LIMIT)]
    waiting = Task(use, other)
    other.wait_for_waiters(1)
    give_back(connections.pop())
    waiting.result()
    assert busy.stats().discards == {"process limit": 1}
    give_back(connections.pop())
    assert driver.most_open == LIMIT


def test_who_waits_in_another_pool_is_served_in_the_order_of_all(make_pool: MakePool) -> None:
    pools = [make_pool("a", pool_size=1), make_pool("b", pool_size=1)]
    third = make_pool("c")
    held = [pool.borrow() for pool in pools]
    order: list[int] = []

    def work(number: int, pool: Pool) -> None:
        connection = pool.borrow()
        order.append(number)
        give_back(connection)

    tasks = []
    for number, pool in enumerate([pools[0], third, pools[0], third, pools[0]]):
        tasks.append(Task(work, number, pool))
        waiters = number + 1
        wait_until(
            lambda: sum(one.stats().waiting for one in (*pools, third)) == waiters,  # noqa: B023
            DEADLINE,
            "it does not wait",
        )
    give_back(held[0])
    for task in tasks:
        task.result()
    assert order == [0, 1, 2, 3, 4]
    give_back(held[1])


def test_a_newcomer_does_not_take_what_is_on_its_way_to_another() -> None:
    class Waiting:
        def waiting_since(self) -> float | None:
            return 2.0

        def borrowers(self) -> set[Borrower]:
            return set()

        def serve(self) -> None:
            pass

    limiter, waiting = ConnectionLimiter(1), Waiting()
    limiter.enter(waiting)
    assert limiter.take(3.0) is None
    assert limiter.take(1.0) is not None


def test_own_waiters_that_came_earlier_keep_the_connection(make_pool: MakePool) -> None:
    busy, other = make_pool("busy", pool_size=1), make_pool("other")
    held = [busy.borrow(), other.borrow()]
    own = Task(use, busy)
    busy.wait_for_waiters(1)
    later = Task(use, other)
    other.wait_for_waiters(1)
    give_back(held[0])
    own.result()
    later.result()
    assert busy.stats().connects == 1, "the own waiter got the connection itself"
    give_back(held[1])


def test_a_busy_pool_does_not_starve_another(make_pool: MakePool) -> None:
    busy, other = make_pool("busy"), make_pool("other")
    stop = threading.Event()

    def hog() -> None:
        while not stop.is_set():
            use(busy)

    hogs = [Task(hog) for _ in range(4)]
    for _ in range(20):
        Task(use, other).result()
    stop.set()
    for task in hogs:
        task.result()


def test_a_timeout_says_that_it_was_the_process_limit_and_who_has_what(
    make_pool: MakePool,
) -> None:
    busy, other = make_pool("busy"), make_pool("other", timeout=0.01)
    with busy.borrowed(), busy.borrowed(), pytest.raises(PoolTimeout) as caught:
        Task(other.borrow).result()
    assert "(timeout=0.01)" in str(caught.value)
    assert "MAX_PROCESS_CONNECTIONS=2 for all pools of the process (2 busy)" in str(caught.value)
    use(other)


def test_a_timeout_under_the_pools_own_cap_does_not_blame_the_process(make_pool: MakePool) -> None:
    pool = make_pool("small", pool_size=1, timeout=0)
    with pool.borrowed(), pytest.raises(PoolTimeout) as caught:
        pool.borrow()
    assert "MAX_PROCESS" not in str(caught.value)


def test_a_thread_that_holds_all_there_is_does_not_wait_for_itself(make_pool: MakePool) -> None:
    first, second, third = make_pool("first"), make_pool("second"), make_pool("third")
    refused = pytest.raises(PoolDeadlock, match=r"wait for itself.*\(1 second, 1 first\)")
    with first.borrowed(), second.borrowed(), refused:
        third.borrow()
    use(third)


def test_of_threads_that_wait_for_each_other_across_pools_one_gets_an_error(
    make_pool: MakePool,
) -> None:
    main, tenant = make_pool("main"), make_pool("tenant")
    with main.borrowed():
        holding, go = threading.Event(), threading.Event()

        def hold_and_want() -> None:
            with main.borrowed():
                holding.set()
                go.wait(DEADLINE)
                use(tenant)

        task = Task(hold_and_want)
        assert holding.wait(DEADLINE)
        go.set()
        tenant.wait_for_waiters(1)
        with pytest.raises(PoolDeadlock):
            tenant.borrow()
    task.result()  # what was returned makes room


def test_who_gave_up_keeps_nobody_back(make_pool: MakePool) -> None:
    busy, hasty, patient = make_pool("busy"), make_pool("hasty", timeout=0.05), make_pool("patient")
    held = [busy.borrow(), busy.borrow()]
    giving_up = Task(hasty.borrow)
    hasty.wait_for_waiters(1)
    waiting = Task(use, patient)
    patient.wait_for_waiters(1)
    with pytest.raises(PoolTimeout):
        giving_up.result()
    give_back(held.pop())
    waiting.result()
    give_back(held.pop())


def test_a_failed_connect_takes_nothing_from_the_limit(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    def refuse() -> None:
        raise ConnectError

    pool = make_pool("pool", timeout=0)
    driver.before_connect = refuse
    for _ in range(LIMIT + 1):
        with pytest.raises(ConnectError):
            pool.borrow()
    driver.before_connect = lambda: None
    with pool.borrowed(), make_pool("other", timeout=0).borrowed():
        assert len(driver.open) == LIMIT


def test_an_interrupted_waiter_leaves_its_place_to_others(
    make_pool: MakePool, limiter: ConnectionLimiter
) -> None:
    busy, other = make_pool("busy"), make_pool("other")
    held = [busy.borrow() for _ in range(LIMIT)]
    interrupted = Task(other.borrow)
    other.wait_for_waiters(1)
    thread = ctypes.c_ulong(interrupted.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(KeyboardInterrupt))
    give_back(held.pop())  # the interrupt arrives when the wait ends, with a place in hand
    with pytest.raises(KeyboardInterrupt):
        interrupted.result()
    give_back(held.pop())
    assert not limiter.queue
    with other.borrowed(), other.borrowed():
        pass


def test_a_lost_connection_makes_room_when_it_is_collected(make_pool: MakePool) -> None:
    busy, other = make_pool("busy"), make_pool("other")
    lost = [busy.borrow() for _ in range(LIMIT)]
    waiting = Task(use, other)
    other.wait_for_waiters(1)
    lost.clear()
    gc.collect()
    waiting.result()


def test_what_a_thread_left_in_another_pool_makes_room(make_pool: MakePool) -> None:
    left, other = make_pool("left"), make_pool("other")
    kept: list[Any] = []
    with other.borrowed():
        thread = threading.Thread(target=lambda: kept.append(left.borrow()))
        thread.start()
        thread.join()
        use(other)
    assert left.stats().discards == {"thread ended": 1}


def test_a_closed_session_counts_until_the_server_has_ended_it(
    make_pool: MakePool, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    lingering, other = make_pool("lingering"), make_pool("other", timeout=0.05)
    dialect = lingering.managed.dialect
    remains = object()
    monkeypatch.setattr(dialect, "_close", lambda connection: remains)
    with lingering.borrowed() as connection:
        connection.broken = True
    with lingering.borrowed():
        with pytest.raises(PoolTimeout, match=r"\(2 lingering\)"):
            other.borrow()
        monkeypatch.setattr(dialect, "forget_ended", lambda: dialect._end(remains))
        use(other)


def test_a_dead_connection_is_replaced_within_the_limit(
    make_pool: MakePool, driver: FakeDriver
) -> None:
    pool, other = make_pool("pool"), make_pool("other")
    with pool.borrowed() as connection:
        connection.alive = False
    with other.borrowed(), pool.borrowed() as replacement:
        assert replacement.number == 3
        assert len(driver.open) == LIMIT


@pytest.mark.parametrize("poolclass", ["QueuePool", "NullPool"])
def test_sqlalchemys_own_pools_wait_for_room_within_their_timeout(
    make_pool: MakePool, driver: FakeDriver, limiter: ConnectionLimiter, poolclass: str
) -> None:
    ours = make_pool("ours")
    theirs = Pool("theirs", driver=driver, limiter=limiter, poolclass=poolclass)
    theirs.managed.dialect.patience = 0.05
    held = [ours.borrow() for _ in range(LIMIT)]
    with pytest.raises(PoolTimeout, match=r"could be opened in .*MAX_PROCESS_CONNECTIONS=2"):
        theirs.borrow()
    theirs.managed.dialect.patience = 60
    waiting = Task(use, theirs)
    wait_until(lambda: limiter.queue, DEADLINE, "it does not wait")
    give_back(held.pop())
    waiting.result()
    give_back(held.pop())
    assert driver.most_open == LIMIT


class LostSessions:
    """Those of a pool that only the cyclic garbage collector will find."""

    name = "lost"
    reserve = None
    open_sessions = 1

    def __init__(self) -> None:
        self.me = self

    def forget_ended(self) -> None:
        pass


def test_a_pool_may_be_collected_while_the_pools_are_looked_at(limiter: ConnectionLimiter) -> None:
    others = [LostSessions() for _ in range(25)]  # Python keeps smaller tuples for reuse
    for sessions in others:
        limiter.count(sessions)
    thresholds = gc.get_threshold()
    try:
        for allocations in range(30):
            for look in (limiter.make_room, limiter.__str__):
                gc.set_threshold(0)
                lost = LostSessions()
                limiter.count(lost)
                gc.collect(0)  # the count begins anew, with this in the next generation
                del lost
                gc.set_threshold(allocations + 1, 0)
                look()
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert str(limiter).count("lost") == len(others)


def test_without_a_limit_nothing_is_shared(driver: FakeDriver) -> None:
    pools = [Pool(str(number), driver=driver, pool_size=1) for number in range(3)]
    held = [pool.borrow() for pool in pools]
    assert driver.most_open == 3
    for connection in held:
        give_back(connection)
