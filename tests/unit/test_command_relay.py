"""The supervisor's part in commands to pools: who gets them, what it keeps and counts."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from pooldaemon.conf import PerDatabase
from pooldaemon.pool_commands import PoolCommand
from pooldaemon.workers.ipc.channel import Receiver, Sender
from pooldaemon.workers.ipc.report import Report
from pooldaemon.workers.supervisor.budget import Budget
from pooldaemon.workers.supervisor.commands import CommandRelay
from pooldaemon.workers.supervisor.handle import WorkerHandle
from pooldaemon.workers.supervisor.status import describe_workers
from pooldaemon.workers.supervisor.worker_set import WorkerSet


class Floor:
    """A worker set whose workers are pipes."""

    def __init__(self, size: int, **budget: Any) -> None:
        self.receivers: dict[str, Receiver] = {}
        self.opened: list[int] = []
        self.worker_set = WorkerSet(size, self._fork, Budget(**budget))
        self.book = CommandRelay(self.worker_set, {})
        self.worker_set.fill(0.0, one_at_a_time=False)

    def _fork(self, name: str, caps: PerDatabase, now: float) -> WorkerHandle:
        ends = os.pipe()
        self.opened += ends
        self.receivers[name] = Receiver(ends[0])
        receiver: Any = None
        return WorkerHandle(name, 100 + len(self.receivers), receiver, now, caps, Sender(ends[1]))

    def take(self, command: str, **values: Any) -> dict[str, Any]:
        return self.book.take({"command": command, **values})

    def replace(self, name: str) -> None:
        self.worker_set.bury(self.worker_set.workers[name])
        self.worker_set.vacate(name, 0.0)
        self.worker_set.fill(0.0, one_at_a_time=False)


@pytest.fixture
def floor(request: pytest.FixtureRequest) -> Iterator[Floor]:
    floor = Floor(2, **getattr(request, "param", {}))
    yield floor
    for end in floor.opened:
        with suppress(OSError):
            os.close(end)


def test_every_worker_gets_the_command_and_the_answer_says_whom_to_wait_for(floor: Floor) -> None:
    floor.worker_set.workers["worker-2"].commands = None  # of a version without commands
    answer = floor.take("pause", pool="default")
    assert answer == {"number": 1, "workers": {"worker-1": 101}, "unsupported": ["worker-2"]}
    assert floor.receivers["worker-1"].receive() == [
        {"kind": "command", "number": 1, "verb": "pause", "pool": "default", "size": None}
    ]
    assert floor.take("resume", pool="default")["number"] == 2


def test_what_stands_is_kept_for_new_workers_and_for_the_next_supervisor(floor: Floor) -> None:
    floor.take("pause")
    floor.take("reconnect")
    after = CommandRelay(floor.worker_set, floor.book.hand_over())
    assert list(after.standing()) == [PoolCommand("pause")]
    assert after.take({"command": "resume"})["number"] == 3
    assert list(after.standing()) == []


def test_a_supervisor_of_a_version_without_orders_hands_over_none(floor: Floor) -> None:
    assert list(CommandRelay(floor.worker_set, {}).standing()) == []


def test_a_pool_is_known_by_the_reports_of_workers_and_by_the_settings(floor: Floor) -> None:
    view = floor.worker_set.workers["worker-2"].view
    view.take({"kind": "pool", "round": 1, "pool": {"name": "mysql app@host/shop"}})
    view.take({"kind": "report_end", "round": 1})
    assert "error" not in floor.take("pause", pool="mysql app@host/shop")
    assert floor.take("pause", pool="mysql app@host/shp") == {
        "error": "there is no pool 'mysql app@host/shp'. Did you mean 'mysql app@host/shop'? "
        "Valid: default, mysql app@host/shop"
    }
    assert "there is no pool ['x']" in floor.take("pause", pool=["x"])["error"]
    assert list(floor.book.standing()) == [PoolCommand("pause", "mysql app@host/shop")]


@pytest.mark.parametrize("size", [0, -1, None, True, "3", 10**9])
def test_a_size_that_is_none_is_refused(floor: Floor, size: object) -> None:
    error = floor.take("resize", size=size)["error"]
    assert error == f"the size is {size!r}; it must be a whole number from 1 to 100000"


@pytest.mark.parametrize("floor", [{"total": 13, "each": {"replica": 2}}], indirect=True)
def test_the_total_of_connections_bounds_the_size(floor: Floor) -> None:
    for pool, most in ((None, 2), ("default", 6)):
        assert "error" not in floor.take("resize", pool=pool, size=most)
        error = floor.take("resize", pool=pool, size=most + 1)["error"]
        assert error == (
            f"the size is {most + 1}; total_connections is enough for {most} in each worker"
        )
    floor.worker_set.resize(6)  # the share is smaller now
    assert PoolCommand("resize", "default", 2) in floor.book.standing()


def test_restarts_are_counted_by_place_and_units_also_of_the_dead(floor: Floor) -> None:
    for worker in floor.worker_set.workers.values():
        worker.report = Report(units=10, failures=1)
    floor.replace("worker-2")
    status = describe_workers(floor.worker_set, 0.0)
    assert (status["units"], status["failures"], status["restarts"]) == (20, 2, 1)
    assert [worker["restarts"] for worker in status["workers"]] == [0, 1]
    after = WorkerSet(1, floor.worker_set._fork, Budget())
    after.adopt(floor.worker_set.workers.values())
    after.go_on_counting(floor.worker_set.hand_over())
    status = describe_workers(after, 0.0)
    assert (status["units"], status["failures"], status["restarts"]) == (20, 2, 1)
    after.bury(after.workers["worker-1"])
    after.vacate("worker-1", 0.0)
    after.fill(0.0, one_at_a_time=False)
    assert describe_workers(after, 0.0)["restarts"] == 2


def test_a_worker_set_that_was_counted_by_an_older_version_begins_at_nothing(floor: Floor) -> None:
    floor.worker_set.go_on_counting({})
    floor.replace("worker-1")
    assert describe_workers(floor.worker_set, 0.0)["restarts"] == 1
