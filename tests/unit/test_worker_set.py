"""Whether a worker set lives, which its supervisor reports to systemd; its size after a
reload."""

from typing import Any

import pytest

from pooldaemon.conf import PerDatabase
from pooldaemon.workers.supervisor.budget import Budget
from pooldaemon.workers.supervisor.handle import WorkerHandle, WorkerState
from pooldaemon.workers.supervisor.worker_set import LIVELY, WorkerSet


def fork(name: str, caps: PerDatabase, now: float) -> WorkerHandle:
    receiver: Any = None
    return WorkerHandle(name, 0, receiver, now, caps)


def test_a_worker_set_lives_as_long_as_one_of_its_workers_reports() -> None:
    worker_set = WorkerSet(2, fork, Budget())
    assert not worker_set.is_alive(0.0)
    worker_set.fill(0.0, one_at_a_time=False)
    assert not worker_set.is_alive(0.0), "nobody is ready"
    for worker in worker_set.workers.values():
        worker.become(WorkerState.READY)
        worker.was_ready = True
    assert worker_set.is_alive(LIVELY / 2)
    assert not worker_set.is_alive(LIVELY), "all hang"
    worker_set.workers["worker-2"].last_heard = LIVELY
    assert worker_set.is_alive(LIVELY)


def test_a_successor_that_boots_slowly_is_a_sign_of_life_unless_its_place_has_failed() -> None:
    worker_set = WorkerSet(1, fork, Budget())
    worker_set.fill(0.0, one_at_a_time=False)
    first = worker_set.workers["worker-1"]
    first.become(WorkerState.READY)
    first.was_ready = True
    assert worker_set.is_alive(1.0)
    worker_set.bury(first)
    assert not worker_set.is_alive(1.0)
    worker_set.vacate("worker-1", 1.0)
    worker_set.fill(1.0, one_at_a_time=False)
    assert worker_set.is_alive(60.0), "its boot_timeout is the guard's business"
    worker_set.slots["worker-1"].delay_after(
        worker_set.workers["worker-1"], 60.0
    )  # it could not boot
    assert not worker_set.is_alive(60.0)


def reloaded(worker_set: WorkerSet, configured: int, budget: Budget) -> WorkerSet:
    after = WorkerSet(configured, fork, budget)
    after.keep_size(worker_set.hand_over())
    return after


@pytest.mark.parametrize(("configured", "size"), [(2, 5), (3, 3), (1, 1)])
def test_scale_survives_a_reload_unless_the_configured_number_changes(
    configured: int, size: int
) -> None:
    worker_set = WorkerSet(2, fork, Budget())
    worker_set.resize(5)
    after = reloaded(worker_set, configured, Budget())
    assert after.size == size
    assert reloaded(after, configured, Budget()).size == size


def test_scale_survives_a_reload_as_far_as_the_connections_are_enough() -> None:
    worker_set = WorkerSet(2, fork, Budget())
    worker_set.resize(5)
    assert reloaded(worker_set, 2, Budget(total=4)).size == 3


def test_a_worker_set_has_the_configured_size_after_a_version_that_did_not_hand_over_its_own() -> (
    None
):
    worker_set = WorkerSet(2, fork, Budget())
    worker_set.keep_size({"units": 1})
    assert worker_set.size == 2
