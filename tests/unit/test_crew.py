"""Whether a crew lives, which is what its supervisor tells systemd."""

from typing import Any

from pooldaemon.conf import PerDatabase
from pooldaemon.workers.budget import Budget
from pooldaemon.workers.crew import LIVELY, Crew
from pooldaemon.workers.handle import WorkerHandle


def fork(name: str, caps: PerDatabase, now: float) -> WorkerHandle:
    receiver: Any = None
    return WorkerHandle(name, 0, receiver, now, caps)


def test_a_crew_lives_as_long_as_one_of_its_workers_reports() -> None:
    crew = Crew(2, fork, Budget())
    assert not crew.is_alive(0.0)
    crew.fill(0.0, one_at_a_time=False)
    assert not crew.is_alive(0.0), "nobody is ready"
    for worker in crew.workers.values():
        worker.was_ready = True
    assert crew.is_alive(LIVELY / 2)
    assert not crew.is_alive(LIVELY), "all hang"
    crew.workers["worker-2"].last_heard = LIVELY
    assert crew.is_alive(LIVELY)
