"""Connections divided among workers, and kept to while their number changes."""

import random
from typing import Any

import pytest

from pooldaemon.conf import PerDatabase
from pooldaemon.workers.supervisor.budget import RESERVE, Budget
from pooldaemon.workers.supervisor.handle import WorkerHandle, WorkerState
from pooldaemon.workers.supervisor.worker_set import WorkerSet


@pytest.mark.parametrize(
    ("budget", "workers", "share"),
    [
        (Budget(), 3, {}),
        (Budget(each={"*": 5}), 3, {"*": 5}),
        (Budget(total=13), 3, {"*": 4}),
        (Budget(total=13), 5, {"*": 2}),
        (Budget(total=13, each={"*": 3}), 2, {"*": 3}),
        (Budget(total=13, each={"replica": 3}), 2, {"*": 6, "replica": 3}),
        (Budget(total=13, each={"*": 3, "replica": 8}), 2, {"*": 3, "replica": 6}),
        (Budget(total=3), 2, {"*": 1}),
    ],
)
def test_the_total_without_the_reserve_is_divided(
    budget: Budget, workers: int, share: PerDatabase
) -> None:
    assert budget.share(workers) == share


def test_a_budget_is_enough_for_as_many_workers_as_it_has_connections_beside_the_reserve() -> None:
    assert Budget(total=5).most_workers == 5 - RESERVE
    assert Budget(total=5).share(4) == {"*": 1}
    assert Budget().most_workers == float("inf")


@pytest.mark.parametrize(
    ("caps", "room"),
    [
        ([{"*": 4}, {"*": 4}, {"*": 4}], True),
        ([{"*": 4}, {"*": 4}, {"*": 5}], False),
        ([{"*": 4, "replica": 2}, {"*": 4, "replica": 10}], True),
        ([{"*": 4, "replica": 2}, {"*": 4, "replica": 11}], False),
        ([{"*": 4}, {"*": 1, "replica": 9}], False),  # from before a reload, and after it
        ([{}, {"*": 12}], True),
    ],
)
def test_there_is_room_as_long_as_the_total_holds_for_every_database(
    caps: list[PerDatabase], room: bool
) -> None:
    assert Budget(total=13).has_room(caps) is room
    assert Budget().has_room(caps)


def fork(name: str, caps: PerDatabase, now: float) -> WorkerHandle:
    """A worker that is ready at once; it gets no commands."""
    receiver: Any = None
    worker = WorkerHandle(name, 0, receiver, now, caps)
    worker.become(WorkerState.READY)
    return worker


class Life:
    """What the supervisor's loop does with a worker set, one step at a time."""

    def __init__(self, size: int, total: int) -> None:
        self.total = total
        self.worker_set = WorkerSet(size, fork, Budget(total=total))

    def step(self) -> None:
        self.worker_set.fill(0.0, one_at_a_time=False)
        caps = [worker.caps["*"] for worker in self.worker_set.workers.values()]
        assert sum(caps) <= self.total - RESERVE
        if self.worker_set.is_settled:
            for worker in self.worker_set.outdated()[:1]:
                self.die(worker)

    def die(self, worker: WorkerHandle) -> None:
        del self.worker_set.workers[worker.name]
        if worker.name in self.worker_set.slots:
            self.worker_set.vacate(worker.name, 0.0)

    def resize(self, size: int) -> None:
        for worker in self.worker_set.resize(size):
            self.die(worker)


@pytest.mark.parametrize("seed", range(20))
def test_the_budget_holds_at_every_step_and_all_get_their_share_in_the_end(seed: int) -> None:
    chance = random.Random(seed)
    total = chance.randint(10, 40)
    life = Life(2, total)
    for _ in range(5):
        size = chance.randint(1, total - RESERVE)
        life.resize(size)
        for _ in range(chance.randint(0, 3)):  # the next change may come in the middle
            life.step()
    for _ in range(2 * total):
        life.step()
    assert life.worker_set.is_complete
    assert {worker.caps["*"] for worker in life.worker_set.workers.values()} == {
        (total - RESERVE) // size
    }
