"""Runs in the parent: kills workers that are late, and the sessions of dead workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial

from pooldaemon.conf import DaemonConfig
from pooldaemon.sessions import Session, kill
from pooldaemon.workers.supervisor.handle import NEVER, WorkerHandle, WorkerState
from pooldaemon.workers.supervisor.session_file import SessionFile
from pooldaemon.workers.supervisor.spawner import Spawner

logger = logging.getLogger("pooldaemon.supervisor")


SUCCESSOR_FIRST = 0.2
"""Seconds for which the killing of a dead worker's sessions waits while another worker boots: both
need
the processor, and work waits."""


class Reaper:
    """
    :param cut_off: called when units of work are lost.
    """

    def __init__(self, config: DaemonConfig, spawner: Spawner, cut_off: Callable[[], None]) -> None:
        self._config = config
        self._spawner = spawner
        self._cut_off = cut_off
        self._dead: list[WorkerHandle] = []
        self._left_over: Callable[[], None] | None = None
        self.end_at = NEVER
        """When the sessions of dead workers are killed at the latest."""

    def judge(self, worker: WorkerHandle, now: float) -> None:
        """Kill *worker* if it is late; end the statement of an overdue unit."""
        for _ in worker.overdue:
            worker.kill_at = min(worker.kill_at, now + self._config.graceful_timeout)
        if now >= worker.kill_at:
            exits = worker.state is WorkerState.EXITING
            what = "last hook" if exits else "work"
            logger.error("%s: killed in the middle of its %s", worker, what)
            why = "worker_exit took too long" if exits else "it took too long to drain"
            worker.kill(worker.killed_for or why)
            self._cut_off()
        elif reason := self._is_late(worker, now):
            logger.error("%s (pid %d): %s", worker.name, worker.pid, reason)
            worker.abort(reason, now)
            self._cut_off()
        self._end_statements(worker)

    def note_dead(self, worker: WorkerHandle, now: float) -> None:
        """Note that *worker* died without ending in order."""
        self._dead.append(worker)
        self.end_at = min(self.end_at, now + SUCCESSOR_FIRST)

    def end_sessions(self, living: Collection[WorkerHandle], now: float) -> None:
        """Kill the sessions of dead workers: their statements go on and hold locks.

        :raises OSError: no process can be forked for it now.
        """
        if now < self.end_at and any(now - each.started < SUCCESSOR_FIRST for each in living):
            return
        if self._left_over is not None:
            self._spawner.fork_helper(self._left_over)
            self._left_over = None
        in_use = [worker.sessions for worker in living]
        while self._dead:
            worker = self._dead[0]
            if left := worker.sessions.difference(*in_use):
                self._spawner.fork_helper(partial(_kill, worker.name, left))
            del self._dead[0]
        self.end_at = NEVER

    @property
    def sessions(self) -> set[Session]:
        """Sessions of dead workers that have not been killed yet."""
        return set().union(*(worker.sessions for worker in self._dead))

    def end_left_over(self, session_file: SessionFile) -> None:
        """In the next round, kill the sessions that a daemon left which was killed with all its
        workers."""
        sessions, noted = session_file.left_over()
        if sessions:
            self._left_over = partial(_kill, "the last daemon", sessions, noted=noted)

    def _is_late(self, worker: WorkerHandle, now: float) -> str | None:
        config = self._config
        if worker.state is WorkerState.BOOTING and now - worker.started >= config.boot_timeout:
            return f"not ready after {config.boot_timeout:g} s"
        silence = now - worker.last_heard
        reports = worker.state in (
            WorkerState.READY, WorkerState.DRAINING, WorkerState.EXITING,
        )  # fmt: skip
        if worker.was_ready and reports and silence >= config.heartbeat_timeout:
            return f"no heartbeat for {config.heartbeat_timeout:g} s"
        return None

    def _end_statements(self, worker: WorkerHandle) -> None:
        """
        :raises OSError: there is no process for it just now.
        """
        while worker.overdue:
            if sessions := worker.overdue[0].sessions:
                end = partial(_kill, worker.name, sessions, statement_only=True)
                self._spawner.fork_helper(end)
            del worker.overdue[0]


def _kill(
    worker: str,
    sessions: Collection[Session],
    *,
    statement_only: bool = False,
    noted: float | None = None,
) -> None:
    """In a helper."""
    if killed := kill(sessions, statement_only=statement_only, noted=noted):
        what = "the statements of the sessions" if statement_only else "the sessions"
        numbers = ", ".join(f"{session.number} ({session.alias})" for session in killed)
        logger.warning("%s: ended %s %s on the server", worker, what, numbers)
