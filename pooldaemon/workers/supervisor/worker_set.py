"""Runs in the parent: the worker slots, and the processes in them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pooldaemon.backoff import Backoff
from pooldaemon.conf import PerDatabase
from pooldaemon.sessions import Session
from pooldaemon.workers.supervisor.budget import Budget
from pooldaemon.workers.supervisor.handle import NEVER, Progress, WorkerHandle, WorkerState

RESPAWN_DELAY = 1.0, 30.0
"""First and longest delay, in seconds, before a worker that died again is replaced."""

GOOD_LIFE = 60.0
"""Seconds of life after which a worker's earlier deaths are no longer counted."""

AT_ONCE = float("-inf")


PROBATION = 1.0
"""Seconds for which a worker with new code has to work before the next old one is replaced. Code
that fails does so in its first units."""

LIVELY = 10.0
"""Seconds after its last report for which a worker counts as alive. It reports once a second."""


class WorkerSlot:
    """A numbered slot such as ``worker-1``, filled by one process at a time."""

    def __init__(self) -> None:
        self._backoff = Backoff(*RESPAWN_DELAY)
        self.crashes = 0
        """Deaths of ready workers since one lived for ``GOOD_LIFE`` seconds."""
        self.starts = 0
        """Processes that have been started in it."""

    @property
    def restarts(self) -> int:
        """How often its process was replaced, planned or not."""
        return max(0, self.starts - 1)

    @property
    def is_good(self) -> bool:
        """Whether no delay is due: its workers have not died repeatedly."""
        return not self._backoff.failures

    def delay_after(self, worker: WorkerHandle, now: float) -> float:
        """Note the death of *worker*; returns the seconds until the next one starts.

        The first death of a ready worker counts as an accident and has no delay. Workers that die
        again, or can't boot, are started with growing delays.
        """
        if now - worker.started >= GOOD_LIFE:
            self._backoff.reset()
            self.crashes = 0
        is_first = worker.was_ready and not (self.crashes or self._backoff.failures)
        self.crashes += worker.was_ready
        if is_first:
            return 0.0
        return self._backoff.next_delay()


class WorkerSet:
    """The worker slots and the processes in them.

    :param size: number of slots, 1 or more.
    :param fork: starts the process of a slot, by its name, with its caps of connections.
    :param budget: it has to be enough for them.

    :ivar units: done by the dead; :ivar failures: of them, those that failed.
    :ivar restarts: in all slots, those included that are no more.
    """

    def __init__(
        self,
        size: int,
        fork: Callable[[str, PerDatabase, float], WorkerHandle],
        budget: Budget,
    ) -> None:
        self._fork = fork
        self._budget = budget
        self._configured = size
        self.workers: dict[str, WorkerHandle] = {}
        self.slots: dict[str, WorkerSlot] = {}
        self._vacancies: dict[str, float] = {}  # name -> when to start it
        self._has_worked = False
        self.units = self.failures = self.restarts = 0
        self.resize(size)

    @property
    def size(self) -> int:
        return len(self.slots)

    @property
    def most(self) -> float:
        """The most workers for which the connection budget is enough."""
        return self._budget.most_workers

    def resize(self, size: int) -> list[WorkerHandle]:
        """Change the number of slots; returns the workers that no longer have one."""
        names = [f"worker-{number}" for number in range(1, size + 1)]
        for name in names:
            if name not in self.slots:
                self.slots[name] = WorkerSlot()
                if name not in self.workers:  # one may still be draining
                    self._vacancies[name] = AT_ONCE
        for name in [*self.slots][size:]:
            del self.slots[name]
            self._vacancies.pop(name, None)
        self._rebalance()
        return self._without_place()

    def _rebalance(self) -> None:
        """Mark workers with a wrong share of the budget for replacement."""
        share = self._budget.share(self.size)
        for worker in self.workers.values():
            worker.outdated = worker.outdated or worker.caps != share

    @property
    def is_settled(self) -> bool:
        """Whether all present workers are ready and no further one can be started."""
        ready = all(worker.state is WorkerState.READY for worker in self.workers.values())
        return ready and not (self._vacancies and self._has_room())

    def has_proven(self, now: float) -> bool:
        """Whether the workers with new code have been ready for ``PROBATION`` seconds."""
        new = [worker for worker in self.workers.values() if not worker.inherited]
        return all(now - worker.ready_since >= PROBATION for worker in new)

    def _has_room(self) -> bool:
        in_use = [worker.caps for worker in self.workers.values()]
        return self._budget.has_room([*in_use, self._budget.share(self.size)])

    @property
    def is_complete(self) -> bool:
        """Whether every slot has a ready worker and there are no others."""
        return self.workers.keys() == self.slots.keys() and all(
            worker.state is WorkerState.READY for worker in self.workers.values()
        )

    @property
    def bounds(self) -> PerDatabase:
        """The most connections of one worker, by database, so that the total holds."""
        return {} if self._budget.total is None else self._budget.share(self.size)

    def hand_over(self) -> dict[str, Any]:
        """The counters and the size, with the configured size, for the re-executed supervisor."""
        counts = {"units": self.units, "failures": self.failures, "restarts": self.restarts}
        starts = {name: slot.starts for name, slot in self.slots.items()}
        return {**counts, "starts": starts, "size": self.size, "configured": self._configured}

    def keep_size(self, state: Mapping[str, Any]) -> None:
        """Keep a size that ``scale`` has set, unless the configured number has changed.

        :param state: what :meth:`hand_over` of the last supervisor's worker set returned. An older
            version may lack keys.
        """
        if state.get("configured") == self._configured:
            self.resize(int(min(state.get("size", self._configured), self.most)))

    def go_on_counting(self, state: Mapping[str, Any]) -> None:
        """
        :param state: what :meth:`hand_over` of the last supervisor's worker set returned. An older
            version may lack keys.
        """
        self.units, self.failures = state.get("units", 0), state.get("failures", 0)
        self.restarts = state.get("restarts", 0)
        for name, slot in self.slots.items():
            slot.starts = state.get("starts", {}).get(name, int(name in self.workers))

    def bury(self, worker: WorkerHandle) -> None:
        """Remove a dead worker; its units stay counted."""
        del self.workers[worker.name]
        self.units += worker.report.units
        self.failures += worker.report.failures

    def adopt(self, workers: Iterable[WorkerHandle]) -> list[WorkerHandle]:
        """Add the workers of the last supervisor; returns those that no longer have a slot."""
        for worker in workers:
            self.workers[worker.name] = worker
            self._vacancies.pop(worker.name, None)
        self._rebalance()
        return self._without_place()

    def outdated(self) -> list[WorkerHandle]:
        """Workers that run the code from before a reload, or have a wrong share of the budget."""
        return [worker for worker in self.workers.values() if worker.outdated]

    def spare_outdated(self) -> None:
        """Keep workers that run the code from before a reload, unless their share is wrong."""
        for worker in self.workers.values():
            worker.outdated = False
        self._rebalance()

    @property
    def has_inherited(self) -> bool:
        """Whether a worker of the last supervisor is left."""
        return any(worker.inherited for worker in self.workers.values())

    @property
    def descriptors(self) -> list[int]:
        """The descriptors on which workers report."""
        receivers = [worker.receiver for worker in self.workers.values()]
        return [receiver.descriptor for receiver in receivers if not receiver.ended]

    @property
    def sessions(self) -> set[Session]:
        """The sessions that the workers have open on servers."""
        return set().union(*(worker.sessions for worker in self.workers.values()))

    @property
    def progress(self) -> dict[str, Progress]:
        """The progress of their units, by thread."""
        return {
            name: progress for w in self.workers.values() for name, progress in w.progress.items()
        }

    @property
    def ready(self) -> int:
        return sum(worker.state is WorkerState.READY for worker in self.workers.values())

    def is_alive(self, now: float) -> bool:
        """Whether a ready worker has reported lately.

        A booting worker counts too if some worker has been ready before: there may be one worker
        only, and its successor may boot slowly. It does not count if its slot has failed lately.
        """
        lively = [w for w in self.workers.values() if now - w.last_heard < LIVELY]
        self._has_worked = self._has_worked or any(w.was_ready for w in self.workers.values())
        return any(worker.was_ready for worker in lively) or (
            self._has_worked
            and any(
                worker.state is WorkerState.BOOTING and self.slots[name].is_good
                for name, worker in self.workers.items()
                if name in self.slots
            )
        )

    @property
    def has_been_ready(self) -> bool:
        """Whether a present worker has been ready."""
        return any(worker.was_ready for worker in self.workers.values())

    def signal(self, number: signal.Signals) -> None:
        """Send it to workers that have been ready: a booting one may not have a handler yet."""
        for worker in self.workers.values():
            if worker.was_ready:
                worker.signal(number)

    def next_start(self) -> float:
        """When the next vacancy is to be filled; ``NEVER`` if the budget has no room for it."""
        return min(self._vacancies.values(), default=NEVER) if self._has_room() else NEVER

    def vacate(self, name: str, when: float) -> None:
        """Have a new worker started in this slot at *when*."""
        self._vacancies[name] = when

    def postpone(self, when: float) -> None:
        """Fill no vacancy before *when*."""
        self._vacancies = {name: max(when, due) for name, due in self._vacancies.items()}

    def _without_place(self) -> list[WorkerHandle]:
        return [worker for name, worker in self.workers.items() if name not in self.slots]

    def leave_to_parent(self) -> None:
        """In a forked child: close the descriptors of its siblings."""
        for sibling in self.workers.values():
            sibling.close_descriptors()

    def close_vacancies(self) -> None:
        """Start no further worker."""
        self._vacancies.clear()

    def fill(self, now: float, *, one_at_a_time: bool) -> None:
        """Start the workers that are due.

        :raises OSError: one can't be started just now; it is still due.
        """
        for name, not_before in list(self._vacancies.items()):
            if one_at_a_time and self.workers:
                return
            if not_before <= now and self._has_room():
                self.workers[name] = self._fork(name, self._budget.share(self.size), now)
                del self._vacancies[name]
                slot = self.slots[name]
                self.restarts += slot.starts > 0
                slot.starts += 1
