"""An exception, or the garbage collector, at any line of the pool: nothing lost, nothing hangs.

INTERRUPT_EVERY=1: at each line of each trial, else at each so many of them, of every trial others.
INTERRUPT_OPCODES=1: at every instruction, which takes minutes.
"""

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from pooldaemon.exceptions import PoolError, PoolRetired, PoolTimeout, TooManyWaiters
from pooldaemon.pool.queue.lease import discard
from pooldaemon.pool.queue.limiter import ConnectionLimiter
from tests.unit.fakes import DEADLINE, ConnectError, FakeDriver, Pool, Task, give_back
from tests.unit.interruptions import KIND, Actor, interrupt

CAP = 2
EVERY = 1 if KIND == "opcode" else int(os.environ.get("INTERRUPT_EVERY", "3"))


class Trial:
    """A pool and its process's limiter; what is done with it, and what must hold afterwards."""

    cap = CAP
    """Of the pool afterwards."""
    limit: int | None = None
    options: dict[str, Any] = {}
    resizes = False

    def __init__(self, extra: int = 0, begin: Callable[["Trial"], object] = lambda _: None) -> None:
        """
        :param extra: so many more places, which *begin* takes.
        """
        self.driver = FakeDriver()
        self.extra = extra
        if not self.resizes:
            self.cap += extra
        if self.limit is not None:
            self.limit += extra
        self.limiter = ConnectionLimiter(self.limit)
        self.pool = self.make_pool()
        self.out: list[Any] = []
        self.helpers: list[Task] = []
        begin(self)
        self.prepare()

    def make_pool(self) -> Pool:
        options = {"pool_size": CAP, "timeout": 5} | self.options
        options["pool_size"] += self.extra
        return Pool(driver=self.driver, limiter=self.limiter, **options)

    def prepare(self) -> None:
        """Before it."""

    def act(self) -> None:
        raise NotImplementedError

    def go_on(self) -> None:
        """After it, before the check: what callers do in any case."""

    def fill(self, number: int = CAP) -> None:
        """Have so many idle connections."""
        handles = [self.pool.borrow() for _ in range(number)]
        while handles:
            give_back(handles.pop())

    def use(self) -> None:
        handle = self.pool.borrow()
        try:
            give_back(handle)
        except BaseException:
            give_back(handle)  # as Django's wrapper does it
            raise

    def check(self) -> None:
        self.go_on()
        while self.out:
            give_back(self.out.pop())
        for helper in self.helpers:
            helper.result()
        managed: Any = self.pool.managed
        handles = [self.pool.borrow() for _ in range(self.cap)]
        managed._pool._timeout = 0
        one_more = Task(self.pool.borrow)
        with pytest.raises((PoolTimeout, TooManyWaiters)):
            one_more.result()
        assert self.driver.most_open <= (self.limit or max(self.cap, CAP + self.extra))
        while handles:
            give_back(handles.pop())
        stats = self.pool.stats()
        assert (stats.in_use, stats.waiting) == (0, 0)
        assert managed.dialect.open_sessions == len(self.driver.open)
        if self.limit is not None:
            assert len(self.limiter._free) == self.limit - len(self.driver.open)
            assert not self.limiter.queue
        self.pool.close()
        assert not self.driver.open
        assert managed.dialect.open_sessions == 0
        assert managed.dialect._known == {}


class BorrowIdle(Trial):
    def prepare(self) -> None:
        self.fill()

    def act(self) -> None:
        self.use()


class BorrowNew(Trial):
    def act(self) -> None:
        self.use()


class BorrowNewWithinLimit(Trial):
    limit = 2

    def act(self) -> None:
        self.use()


class BorrowDead(Trial):
    limit = 2

    def prepare(self) -> None:
        self.fill()
        for connection in self.driver.open:
            connection.alive = False

    def act(self) -> None:
        self.use()


class BorrowAfterClose(Trial):
    def prepare(self) -> None:
        handle = self.pool.borrow()
        self.fill(1)
        self.pool.close()
        give_back(handle)

    def act(self) -> None:
        self.use()


class ConnectFails(Trial):
    limit = 2

    def act(self) -> None:
        def refuse() -> None:
            raise ConnectError

        self.driver.before_connect = refuse
        with suppress(ConnectError):
            self.use()

    def go_on(self) -> None:
        self.driver.before_connect = lambda: None


class BorrowAfterLoss(Trial):
    """Others have lost theirs: by an exception, and by their end."""

    limit = 2

    def prepare(self) -> None:
        self.fill()
        lost = [self.pool.borrow()]
        Task(lambda: lost.append(self.pool.borrow())).result()
        self.orphan = lost.pop()

    def act(self) -> None:
        self.use()


class GiveBack(Trial):
    broken = False
    options: dict[str, Any] = {"leak_threshold": 60}

    def prepare(self) -> None:
        self.out = [self.pool.borrow()]
        self.out[0].broken = self.broken

    def act(self) -> None:
        give_back(self.out[0])


class GiveBackBroken(GiveBack):
    broken = True
    limit = 2


class GiveBackOverflow(GiveBack):
    options = {"pool_size": 1, "max_overflow": 1}

    def prepare(self) -> None:
        self.out = [self.pool.borrow(), self.pool.borrow()]

    def act(self) -> None:
        give_back(self.out[0])
        give_back(self.out[1])


class GiveBackWhileSwept(GiveBack):
    def prepare(self) -> None:
        super().prepare()
        give_back(self.pool.borrow())
        managed: Any = self.pool.managed
        managed._pool._max_idle = managed._pool._next_sweep = 0


class GiveBackToWaiter(GiveBack):
    limit: int | None = None

    def prepare(self) -> None:
        self.out = [self.pool.borrow() for _ in range(CAP)]
        self.helpers = [Task(self.use), Task(self.use)]
        self.pool.wait_for_waiters(2)

    def act(self) -> None:
        give_back(self.out[0])


class GiveBackToWaiterWithinLimit(GiveBackToWaiter):
    limit = 2


class Discard(GiveBack):
    def act(self) -> None:
        discard(self.out[0])


class Wait(Trial):
    """For what another thread returns as soon as it sees that somebody waits."""

    def prepare(self) -> None:
        self.out = [self.pool.borrow() for _ in range(CAP)]
        self.over = False
        self.helpers = [Task(self.return_to_waiter, self.out.pop())]

    def return_to_waiter(self, handle: Any) -> None:
        managed: Any = self.pool.managed
        while not self.over and not managed._pool._waiters:
            time.sleep(0)
        give_back(handle)

    def act(self) -> None:
        self.use()

    def go_on(self) -> None:
        self.over = True


class WaitWithinLimit(Wait):
    limit = 2


class WaitForOtherPool(Trial):
    """Where the process may open no more, an idle connection of another pool is closed."""

    limit = 2

    def prepare(self) -> None:
        self.other = self.make_pool()
        handles = [self.other.borrow() for _ in range(CAP)]
        for handle in handles:
            give_back(handle)

    def act(self) -> None:
        self.use()

    def go_on(self) -> None:
        self.other.close()


class TimeOut(Trial):
    def prepare(self) -> None:
        self.out = [self.pool.borrow() for _ in range(CAP)]
        managed: Any = self.pool.managed
        managed._pool._timeout = 0

    def act(self) -> None:
        with suppress(PoolTimeout):
            self.use()

    def go_on(self) -> None:
        managed: Any = self.pool.managed
        managed._pool._timeout = 5


class Refused(Trial):
    options = {"max_waiting": 0}

    def prepare(self) -> None:
        self.out = [self.pool.borrow() for _ in range(CAP)]

    def act(self) -> None:
        with suppress(PoolError):
            self.use()


class ParkAndResume(Trial):
    def prepare(self) -> None:
        self.handle: Any = self.pool.borrow()
        self.slot = None

    def act(self) -> None:
        slot = self.handle._lender
        slot.affinity.park(self.handle, slot)
        del slot
        self.handle._lender.affinity.resume(self.handle)

    def go_on(self) -> None:
        give_back(self.handle)


class CallIn(ParkAndResume):
    """Somebody else needs what is parked."""

    limit = 2

    def prepare(self) -> None:
        self.fill()
        super().prepare()
        self.out = [self.pool.borrow()]
        lender = self.handle._lender
        lender.affinity.park(self.handle, lender)

    def act(self) -> None:
        self.use()


class Grow(Trial):
    cap = 4
    resizes = True

    def prepare(self) -> None:
        self.fill()
        self.out = [self.pool.borrow()]

    def act(self) -> None:
        self.pool.managed.resize(4)

    def go_on(self) -> None:
        self.pool.managed.resize(4)


class Shrink(Trial):
    cap = 1
    resizes = True

    def prepare(self) -> None:
        self.fill()

    def act(self) -> None:
        self.pool.managed.resize(1)

    def go_on(self) -> None:
        self.pool.managed.resize(1)


class Close(Trial):
    limit = 2

    def prepare(self) -> None:
        self.fill()
        self.out = [self.pool.borrow()]

    def act(self) -> None:
        self.pool.close()

    def go_on(self) -> None:
        self.pool.close()


class Pause(Trial):
    def prepare(self) -> None:
        self.fill()
        self.out = [self.pool.borrow()]

    def act(self) -> None:
        self.pool.managed.pause()
        self.helpers = [Task(self.use)]
        self.pool.managed.resume()

    def go_on(self) -> None:
        if self.pool.managed.paused:
            self.pool.managed.resume()


class Retire(Trial):
    def prepare(self) -> None:
        self.fill()

    def act(self) -> None:
        self.pool.managed.retire()

    def go_on(self) -> None:
        if self.pool.managed.retired:
            with pytest.raises(PoolRetired):
                self.pool.borrow()
            assert self.pool.managed.dialect.open_sessions == 0
            self.pool = self.make_pool()


class Look(Trial):
    def prepare(self) -> None:
        self.fill()
        self.pool.borrow()  # and lost at once

    def act(self) -> None:
        self.pool.stats()
        self.pool.managed._pool.status()


TRIALS = [
    one
    for one in list(globals().values())
    if isinstance(one, type) and issubclass(one, Trial) and one is not Trial
]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """SQLAlchemy logs an error where a close is broken off, and we where a thread has ended."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("keep", [True, False] if KIND == "opcode" else [True])
@pytest.mark.parametrize("make", TRIALS, ids=lambda one: one.__name__)
def test_an_exception_at_any_line_loses_nothing(make: type[Trial], keep: bool) -> None:
    """Also if somebody keeps it, with all the frames that it has passed."""
    wrong = []
    for number in count(TRIALS.index(make) % EVERY, EVERY):
        trial = make()
        actor = Actor(trial.act, number, interrupt)
        actor.wait()
        kept = actor.kept
        if not keep:
            kept = actor.kept = None
        place = actor.interruption.place
        try:
            trial.check()
        except BaseException as error:  # noqa: BLE001 - all of them are reported
            wrong.append(f"{place}: {type(error).__name__} {error}"[:300])
        actor.end()
        del kept
        if place is None:
            break
    assert number > 3
    assert not wrong, f"{len(wrong)} of {number}:\n" + "\n".join(wrong)


class Garbage:
    """Handles in cycles, of this thread and another one, of the pool and another one."""

    def __init__(self) -> None:
        self._cycles: list[Any] = []
        self._end = threading.Event()

    def make(self, trial: Trial) -> None:
        pools = trial.pool, Pool("other", pool_size=2)
        self._lose(pools)
        lost = threading.Event()
        self._task = Task(self._lose, pools, lost)
        assert lost.wait(DEADLINE)

    def _lose(self, pools: tuple[Pool, ...], lost: threading.Event | None = None) -> None:
        for pool in pools:
            cycle: list[Any] = [pool.borrow()]
            cycle.append(cycle)
            self._cycles.append(cycle)
        del cycle
        if lost is not None:
            lost.set()
            self._end.wait(DEADLINE * 2)

    def end(self) -> None:
        self._end.set()
        self._task.result()

    def collect(self) -> None:
        self._cycles.clear()
        gc.collect(0)


@pytest.mark.parametrize("make", TRIALS, ids=lambda one: one.__name__)
def test_the_collector_may_run_at_any_line(make: type[Trial]) -> None:
    wrong = []
    gc.collect()
    gc.disable()
    try:
        for number in count(TRIALS.index(make) % EVERY, EVERY):
            garbage = Garbage()
            trial = make(2, garbage.make)
            actor = Actor(trial.act, number, garbage.collect)
            actor.wait()
            garbage.collect()
            place = actor.interruption.place
            try:
                trial.check()
            except BaseException as error:  # noqa: BLE001 - all of them are reported
                wrong.append(f"{place}: {type(error).__name__} {error}"[:300])
            actor.end()
            garbage.end()
            if place is None:
                break
    finally:
        gc.enable()
    assert not wrong, f"{len(wrong)} of {number}:\n" + "\n".join(wrong)
