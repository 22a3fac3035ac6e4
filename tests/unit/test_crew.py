"""Whether a crew lives, which is what its supervisor tells systemd; its size after a reload."""

from typing import Any

import pytest

from pooldaemon.conf import PerDatabase
from pooldaemon.workers.supervisor.budget import Budget
from pooldaemon.workers.supervisor.handle import WorkerHandle, WorkerState
from pooldaemon.workers.supervisor.worker_set import LIVELY, Crew


def fork(name: str, caps: PerDatabase, now: float) -> WorkerHandle:
    receiver: Any = None
    return WorkerHandle(name, 0, receiver, now, caps)


def test_a_crew_lives_as_long_as_one_of_its_workers_reports() -> None:
    crew = Crew(2, fork, Budget())
    assert not crew.is_alive(0.0)
    crew.fill(0.0, one_at_a_time=False)
    assert not crew.is_alive(0.0), "nobody is ready"
    for worker in crew.workers.values():
        worker.become(WorkerState.READY)
        worker.was_ready = True
    assert crew.is_alive(LIVELY / 2)
    assert not crew.is_alive(LIVELY), "all hang"
    crew.workers["worker-2"].last_heard = LIVELY
    assert crew.is_alive(LIVELY)


def test_a_successor_that_boots_slowly_is_a_sign_of_life_unless_its_place_has_failed() -> None:
    crew = Crew(1, fork, Budget())
    crew.fill(0.0, one_at_a_time=False)
    first = crew.workers["worker-1"]
    first.become(WorkerState.READY)
    first.was_ready = True
    assert crew.is_alive(1.0)
    crew.bury(first)
    assert not crew.is_alive(1.0)
    crew.vacate("worker-1", 1.0)
    crew.fill(1.0, one_at_a_time=False)
    assert crew.is_alive(60.0), "its boot_timeout is the guard's business"
    crew.places["worker-1"].delay_after(crew.workers["worker-1"], 60.0)  # it could not boot
    assert not crew.is_alive(60.0)


def reloaded(crew: Crew, configured: int, budget: Budget) -> Crew:
    after = Crew(configured, fork, budget)
    after.keep_size(crew.hand_over())
    return after


@pytest.mark.parametrize(("configured", "size"), [(2, 5), (3, 3), (1, 1)])
def test_scale_survives_a_reload_unless_the_configured_number_changes(
    configured: int, size: int
) -> None:
    crew = Crew(2, fork, Budget())
    crew.resize(5)
    after = reloaded(crew, configured, Budget())
    assert after.size == size
    assert reloaded(after, configured, Budget()).size == size


def test_scale_survives_a_reload_as_far_as_the_connections_are_enough() -> None:
    crew = Crew(2, fork, Budget())
    crew.resize(5)
    assert reloaded(crew, 2, Budget(total=4)).size == 3


def test_a_crew_has_the_configured_size_after_a_version_that_did_not_tell_its_own() -> None:
    crew = Crew(2, fork, Budget())
    crew.keep_size({"units": 1})
    assert crew.size == 2
