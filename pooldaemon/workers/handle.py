"""Runs in the parent: the supervisor's view of one worker process."""

from __future__ import annotations

import enum
import os
import signal
from contextlib import suppress
from dataclasses import dataclass

from pooldaemon.workers.channel import Receiver
from pooldaemon.workers.report import Report


class WorkerState(enum.Enum):
    """Where a worker process is in its life."""

    BOOTING = "booting"
    READY = "ready"
    DRAINING = "draining"
    KILLED = "killed"
    DEAD = "dead"


TRANSITIONS = {
    WorkerState.BOOTING: {
        WorkerState.READY,
        WorkerState.DRAINING,
        WorkerState.KILLED,
        WorkerState.DEAD,
    },
    WorkerState.READY: {WorkerState.DRAINING, WorkerState.KILLED, WorkerState.DEAD},
    WorkerState.DRAINING: {WorkerState.KILLED, WorkerState.DEAD},
    WorkerState.KILLED: {WorkerState.DEAD},
    WorkerState.DEAD: set(),
}

NEVER = float("inf")


@dataclass(frozen=True)
class WorkerDeath:
    """What the hook ``worker_died`` is told.

    :ivar name: ``"worker-1"``.
    :ivar pid: the process that died.
    :ivar status: its exit status, ``None`` if a signal ended it.
    :ivar signal: the signal's name, ``None`` if it exited.
    :ivar error: why it could not boot, ``None`` if it had.
    """

    name: str
    pid: int
    status: int | None
    signal: str | None
    error: str | None = None

    def __str__(self) -> str:
        if self.error:
            return f"{self.name} (pid {self.pid}) could not start: {self.error}"
        how = f"was ended by {self.signal}" if self.signal else f"exited with status {self.status}"
        return f"{self.name} (pid {self.pid}) {how}"


class WorkerHandle:
    """One process, from its fork until it is reaped.

    :param started: when it was forked (monotonic clock, as all times here).
    """

    def __init__(self, name: str, pid: int, receiver: Receiver, started: float) -> None:
        self.name = name
        self.pid = pid
        self.started = started
        self.state = WorkerState.BOOTING
        self.receiver = receiver
        self.boot_error: str | None = None
        self.was_ready = False
        self.was_killed = False
        """By us."""
        self.retired = False
        """Told to end, so that its death is no failure."""
        self.kill_at = NEVER
        self.report = Report()

    def become(self, state: WorkerState) -> None:
        """Change the state. :raises RuntimeError: there is no such transition."""
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"{self.name}: {self.state.value} can't become {state.value}")
        self.state = state

    def read_messages(self) -> None:
        for message in self.receiver.receive():
            kind = message.pop("kind")
            if kind == "boot_failed":
                self.boot_error = message["error"]
            elif kind == "ready" and self.state is WorkerState.BOOTING:
                self.become(WorkerState.READY)
                self.was_ready = True
            elif kind == "heartbeat":
                self.report = Report.of(message)

    def drain(self, kill_at: float = NEVER) -> None:
        """Tell it to finish what is running.

        :param kill_at: when it is to be killed if it has not ended. An earlier time stays.
        """
        self.kill_at = min(self.kill_at, kill_at)
        if self.state in (WorkerState.BOOTING, WorkerState.READY):
            self.become(WorkerState.DRAINING)
            self.retired = True
            self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self.kill_at = NEVER
        if self.state not in (WorkerState.KILLED, WorkerState.DEAD):
            self.become(WorkerState.KILLED)
            self.was_killed = True
            self.signal(signal.SIGKILL)

    def reap(self) -> WorkerDeath | None:
        """Collect the process if it has ended. Never blocks."""
        # This pid and no other: a library may have children of its own, and waits for them.
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        self.read_messages()
        self.receiver.close()
        self.become(WorkerState.DEAD)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return WorkerDeath(self.name, self.pid, None, _signal_name(-code), self.boot_error)
        return WorkerDeath(self.name, self.pid, code, None, self.boot_error)

    def signal(self, number: signal.Signals) -> None:
        # Not reaped yet, so the pid can't belong to anybody else.
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def __str__(self) -> str:
        told = self.report
        return (
            f"{self.name} (pid {self.pid}): {told.units} units, {told.failures} failed, "
            f"at most {told.connections} connections open"
        )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
