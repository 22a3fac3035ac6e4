"""Runs in the parent: the slots that workers fill, and who is in them."""

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
"""Seconds of life after which a worker's earlier deaths are forgiven."""

AT_ONCE = float("-inf")


PROBATION = 1.0
"""Seconds for which a worker of new code has to work before the next old one leaves. Code that
fails does so in its first units."""

LIVELY = 10.0
"""Seconds since its last report for which a worker counts as living. It reports once a second."""


class WorkerSlot:
    """``worker-1``: filled by one process at a time."""

    def __init__(self) -> None:
        self._backoff = Backoff(*RESPAWN_DELAY)
        self.crashes = 0
        """Deaths at work since the last good life."""
        self.starts = 0
        """Processes that have filled it."""

    @property
    def restarts(self) -> int:
        """How often one has been replaced, as planned or not."""
        return max(0, self.starts - 1)

    @property
    def is_good(self) -> bool:
        """Whether nobody has failed here again and again, since the last good life."""
        return not self._backoff.failures

    def delay_after(self, worker: WorkerHandle, now: float) -> float:
        """Note the death of *worker*; the seconds before the next one starts.

        None after the first death at work: an accident, and there is work. A worker that dies
        again, or can't boot, must not fork a storm.
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
    """So many slots, and the processes in them.

    :param size: how many, 1 or more.
    :param fork: starts the process of that name, with those caps of connections.
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
        """How many there may be."""
        return self._budget.most_workers

    def resize(self, size: int) -> list[WorkerHandle]:
        """Have *size* slots from now on; returns the workers that have none any more."""
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
        """Let those be replaced whose share of the budget is not what it should be."""
        share = self._budget.share(self.size)
        for worker in self.workers.values():
            worker.outdated = worker.outdated or worker.caps != share

    @property
    def is_settled(self) -> bool:
        """Whether all who are there are ready, and nobody can be added."""
        ready = all(worker.state is WorkerState.READY for worker in self.workers.values())
        return ready and not (self._vacancies and self._has_room())

    def has_proven(self, now: float) -> bool:
        """Whether those of new code have worked for a while."""
        new = [worker for worker in self.workers.values() if not worker.inherited]
        return all(now - worker.ready_since >= PROBATION for worker in new)

    def _has_room(self) -> bool:
        in_use = [worker.caps for worker in self.workers.values()]
        return self._budget.has_room([*in_use, self._budget.share(self.size)])

    @property
    def is_complete(self) -> bool:
        """Whether every slot has a worker that is ready, and nobody else is there."""
        return self.workers.keys() == self.slots.keys() and all(
            worker.state is WorkerState.READY for worker in self.workers.values()
        )

    @property
    def bounds(self) -> PerDatabase:
        """How many connections each worker may have, so that the total holds."""
        return {} if self._budget.total is None else self._budget.share(self.size)

    def hand_over(self) -> dict[str, Any]:
        """What has been counted, and the size and whose word it is, as JSON takes it."""
        counts = {"units": self.units, "failures": self.failures, "restarts": self.restarts}
        starts = {name: slot.starts for name, slot in self.slots.items()}
        return {**counts, "starts": starts, "size": self.size, "configured": self._configured}

    def keep_size(self, told: Mapping[str, Any]) -> None:
        """What ``scale`` has said holds on, unless the configured number itself is another one.

        :param told: what :meth:`hand_over` of the last supervisor's worker set told, as far as it
            did.
        """
        if told.get("configured") == self._configured:
            self.resize(int(min(told.get("size", self._configured), self.most)))

    def go_on_counting(self, told: Mapping[str, Any]) -> None:
        """
        :param told: what :meth:`hand_over` of the last supervisor's worker set told, as far as it
            did.
        """
        self.units, self.failures = told.get("units", 0), told.get("failures", 0)
        self.restarts = told.get("restarts", 0)
        for name, slot in self.slots.items():
            slot.starts = told.get("starts", {}).get(name, int(name in self.workers))

    def bury(self, worker: WorkerHandle) -> None:
        """It is dead."""
        del self.workers[worker.name]
        self.units += worker.report.units
        self.failures += worker.report.failures

    def adopt(self, workers: Iterable[WorkerHandle]) -> list[WorkerHandle]:
        """Take in those of the last supervisor; returns the ones that have no slot any more."""
        for worker in workers:
            self.workers[worker.name] = worker
            self._vacancies.pop(worker.name, None)
        self._rebalance()
        return self._without_place()

    def outdated(self) -> list[WorkerHandle]:
        """Those that run the code from before a reload."""
        return [worker for worker in self.workers.values() if worker.outdated]

    def spare_outdated(self) -> None:
        """Let those stay that run the code from before a reload; not those with a wrong share."""
        for worker in self.workers.values():
            worker.outdated = False
        self._rebalance()

    @property
    def has_inherited(self) -> bool:
        """Whether there is anybody of the last supervisor's."""
        return any(worker.inherited for worker in self.workers.values())

    @property
    def descriptors(self) -> list[int]:
        """On which they may tell something."""
        receivers = [worker.receiver for worker in self.workers.values()]
        return [receiver.descriptor for receiver in receivers if not receiver.ended]

    @property
    def sessions(self) -> set[Session]:
        """What they have open on servers."""
        return set().union(*(worker.sessions for worker in self.workers.values()))

    @property
    def progress(self) -> dict[str, Progress]:
        """How far their units are, by thread."""
        return {name: told for w in self.workers.values() for name, told in w.progress.items()}

    @property
    def ready(self) -> int:
        return sum(worker.state is WorkerState.READY for worker in self.workers.values())

    def is_alive(self, now: float) -> bool:
        """Whether anybody works, and tells so.

        Or is about to, when somebody has before: there may be one worker only, and its successor
        may boot slowly. One whose slot has failed lately is no sign of life.
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
        """Whether one of them has been ready."""
        return any(worker.was_ready for worker in self.workers.values())

    def signal(self, number: signal.Signals) -> None:
        """Send it to those who have been ready: one that boots might have no handler yet."""
        for worker in self.workers.values():
            if worker.was_ready:
                worker.signal(number)

    def next_start(self) -> float:
        """When the next vacancy is to be filled; one that waits for room is not waited for."""
        return min(self._vacancies.values(), default=NEVER) if self._has_room() else NEVER

    def vacate(self, name: str, when: float) -> None:
        """The worker of this slot is to be replaced at *when*."""
        self._vacancies[name] = when

    def postpone(self, when: float) -> None:
        """Fill no vacancy before *when*."""
        self._vacancies = {name: max(when, due) for name, due in self._vacancies.items()}

    def _without_place(self) -> list[WorkerHandle]:
        return [worker for name, worker in self.workers.items() if name not in self.slots]

    def leave_to_parent(self) -> None:
        """In a forked child: let go of its siblings."""
        for sibling in self.workers.values():
            sibling.close_descriptors()

    def close_vacancies(self) -> None:
        """Start nobody any more."""
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
