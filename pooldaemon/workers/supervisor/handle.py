"""Runs in the parent: the supervisor's view of one worker process."""

from __future__ import annotations

import enum
import logging
import os
import signal
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from pooldaemon.conf import PerDatabase, count
from pooldaemon.connections import believe_suspects
from pooldaemon.sessions import Session
from pooldaemon.workers.ipc.channel import Receiver, Sender
from pooldaemon.workers.ipc.messages import FROM_WORKERS
from pooldaemon.workers.ipc.parts import Assembly
from pooldaemon.workers.ipc.report import Report
from pooldaemon.workers.ipc.view import View
from pooldaemon.workers.process import memory

logger = logging.getLogger("pooldaemon.supervisor")


class WorkerState(enum.Enum):
    """Where a worker process is in its life."""

    BOOTING = "booting"
    READY = "ready"
    DRAINING = "draining"
    EXITING = "exiting"  # its units have ended, its last hook runs
    KILLED = "killed"
    DEAD = "dead"


TRANSITIONS = {
    WorkerState.BOOTING: {
        WorkerState.READY,
        WorkerState.DRAINING,
        WorkerState.KILLED,
        WorkerState.DEAD,
    },
    WorkerState.READY: {
        WorkerState.DRAINING,
        WorkerState.EXITING,
        WorkerState.KILLED,
        WorkerState.DEAD,
    },
    WorkerState.DRAINING: {WorkerState.EXITING, WorkerState.KILLED, WorkerState.DEAD},
    WorkerState.EXITING: {WorkerState.KILLED, WorkerState.DEAD},
    WorkerState.KILLED: {WorkerState.DEAD},
    WorkerState.DEAD: set(),
}

NEVER = float("inf")

Progress = tuple[float, float | None]
"""What is done, and of how much; ``None`` where that is unknown."""

ABORT_GRACE = 1.0
"""Seconds that an aborted worker gets to write its stacks before it is killed."""


@dataclass(frozen=True)
class WorkerDeath:
    """What the hook ``worker_died`` gets.

    :ivar name: ``"worker-1"``.
    :ivar pid: the process that died.
    :ivar status: its exit status, ``None`` if a signal ended it.
    :ivar signal: the signal's name, ``None`` if it exited. Both are ``None`` if nobody knows:
        something else in the supervisor has waited for it.
    :ivar error: why it could not boot, ``None`` if it had.
    :ivar was_ready: it had booted: it died at work.
    :ivar reason: why the supervisor killed it, ``None`` if it did not.
    :ivar last_unit: at its last report, at most a second before, the unit that had been running
        longest: ``"in worker-1/thread-2 for 3.1 s"``. ``None`` if there was none.
    :ivar oom: it got SIGKILL, not from the supervisor, and since its last report but one the
        kernel has killed a process for want of memory.
    """

    name: str
    pid: int
    status: int | None
    signal: str | None
    error: str | None = None
    was_ready: bool = True
    reason: str | None = None
    last_unit: str | None = None
    oom: bool = False

    def __str__(self) -> str:
        if self.error:
            return f"{self.name} (pid {self.pid}) could not start: {self.error}"
        parts = ["has ended, and something else in the supervisor has taken its exit status"]
        if self.signal:
            parts = [f"was ended by {self.signal}"]
        elif self.status is not None:
            parts = [f"exited with status {self.status}"]
        if self.reason:
            parts.append(f"by the supervisor: {self.reason}")
        if not self.was_ready:
            parts.append("before it was ready")
        if self.oom:
            parts.append("as it seems by the kernel, for want of memory")
        if self.last_unit:
            parts.append(f"its longest unit was {self.last_unit}")
        return f"{self.name} (pid {self.pid}) " + ", ".join(parts)


@dataclass(frozen=True)
class OverdueUnit:
    """A unit past ``unit_timeout``: in which thread, with which sessions of the server."""

    thread: str
    seconds: float
    sessions: tuple[Session, ...]


class WorkerHandle:
    """One process, from its fork until it is reaped.

    :param started: when it was forked (monotonic clock, as all times here).
    :param caps: the most connections it may have, by database.
    :param commands: sends it commands to its pools; ``None``: it is of a version that takes none.
    """

    def __init__(
        self,
        name: str,
        pid: int,
        receiver: Receiver,
        started: float,
        caps: PerDatabase,
        commands: Sender | None = None,
    ) -> None:
        self.name = name
        self.pid = pid
        self.started = started
        self.caps = caps
        self.state = WorkerState.BOOTING
        self.receiver = receiver
        self.commands = commands
        self.boot_error: str | None = None
        self.was_ready = False
        self.ready_since = started
        self.killed_for: str | None = None
        """Why we have killed it."""
        self.retired = False
        """It was told to end, or ends by itself, so its death is no failure."""
        self.kill_at = NEVER
        self.report = Report()
        self.last_heard = started
        self.sessions: set[Session] = set()
        """What it has open on servers."""
        self.progress: dict[str, Progress] = {}
        """The progress of units that report it, by thread."""
        self.view = View()
        """What it has reported about its pools and units."""
        self.overdue: list[OverdueUnit] = []
        """Reported overdue units that were not handled yet."""
        self.outdated = False
        """To be replaced: it runs the code from before a reload, or its caps are wrong by now."""
        self.inherited = False
        """Forked by the last supervisor: it runs the code from before a reload."""
        # As of its last report and of the one before: a worker that was just killed may take a
        # while to end.
        self._oom_kills = deque([memory.oom_kills()], maxlen=2)
        self._has_reported = False
        self._unsent: list[signal.Signals] = []
        self._suspects = Assembly()

    def hand_over(self) -> dict[str, Any]:
        """Its state for the re-executed supervisor, as JSON: see :meth:`taken_over`."""
        return {
            "name": self.name,
            "pid": self.pid,
            "descriptor": self.receiver.descriptor,
            "commands": self.commands and self.commands.descriptor,
            "started": self.started,
            "caps": self.caps,
            "state": self.state.value,
            "was_ready": self.was_ready,
            "retired": self.retired,
            "killed_for": self.killed_for,
            "kill_at": None if self.kill_at == NEVER else self.kill_at,
            "sessions": sorted(self.sessions),
            "report": asdict(self.report),
        }

    @classmethod
    def taken_over(cls, state: Mapping[str, Any], now: float) -> WorkerHandle:
        """A worker that the last supervisor has handed over."""
        receiver = Receiver(state["descriptor"], FROM_WORKERS, state["name"])
        given = state.get("commands")  # not by an older version
        commands = None if given is None else Sender(given)
        worker = cls(
            state["name"], state["pid"], receiver, state["started"], state["caps"], commands
        )
        worker.outdated = worker.inherited = True
        worker.state = WorkerState(state["state"])
        worker.was_ready, worker.retired = state["was_ready"], state["retired"]
        worker.killed_for = state["killed_for"]
        worker.kill_at = NEVER if state["kill_at"] is None else state["kill_at"]
        worker.sessions = {Session(*session) for session in state["sessions"]}
        worker.report = Report.of(state["report"])
        worker.last_heard = now
        return worker

    def become(self, state: WorkerState) -> None:
        """Change the state. :raises RuntimeError: there is no such transition."""
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"{self.name}: {self.state.value} can't become {state.value}")
        self.state = state

    def read_messages(self, now: float) -> None:
        """Read the worker's messages. Kinds that only a later version knows are ignored."""
        for message in self.receiver.receive():
            self.last_heard = now
            self._take(message, now)
            self._take_of_units(message)
            self._take_suspects(message)
            self.view.take(message)

    def _take(self, message: dict[str, Any], now: float) -> None:
        """Messages about the process."""
        match message:
            case {"kind": "boot_failed", "error": error}:
                self.boot_error = error
            case {"kind": "ready"} if self.state is WorkerState.BOOTING:
                self.become(WorkerState.READY)
                self.was_ready = True
                self.ready_since = now
            case {"kind": "heartbeat"}:
                self.report = Report.of(message)
                self._has_reported = True
            case {"kind": "session", "alias": alias, "number": number, "port": port}:
                self.sessions.add(Session(alias, number, port))
            case {"kind": "session_over", "alias": alias, "number": number, "port": port}:
                self.sessions.discard(Session(alias, number, port))
            case {"kind": "leaving", "reason": reason}:
                self._take_leave(reason)
            case {"kind": "exiting", "seconds": seconds}:
                self._take_exit(now + seconds)

    def _take_of_units(self, message: dict[str, Any]) -> None:
        """Messages about one of its threads."""
        match message:
            case {"kind": "progress", "thread": thread, "done": None}:
                self.progress.pop(thread, None)
            case {"kind": "progress", "thread": thread, "done": done, "total": total}:
                self.progress[thread] = done, total
            case {"kind": "overdue", "thread": thread, "seconds": seconds, "sessions": given}:
                sessions = tuple(Session(*session) for session in given)
                self.overdue.append(OverdueUnit(thread, seconds, sessions))

    def _take_suspects(self, message: dict[str, Any]) -> None:
        """What its server's hidden code is: of use for workers that are forked soon."""
        match message:
            case {"kind": "suspects", "account": account, "suspects": suspects, "asked": asked}:
                believe_suspects(account, suspects, asked)
            case {"kind": "suspects_part", "account": account, "asked": asked}:
                part, parts, content = message["part"], message["parts"], message["suspects"]
                whole = self._suspects.add((account, asked, parts), part, parts, content)
                if whole is not None:
                    believe_suspects(account, dict(whole), asked)

    def _take_leave(self, reason: str) -> None:
        if self.state is WorkerState.READY:
            logger.info("%s (pid %d) drains and will be replaced: %s", self.name, self.pid, reason)
            self.become(WorkerState.DRAINING)
            self.retired = True

    def _take_exit(self, deadline: float) -> None:
        if self.state in (WorkerState.READY, WorkerState.DRAINING):
            self.become(WorkerState.EXITING)
            self.retired = True
            # So much the hook has for itself, and it has what its units have left of their time.
            self.kill_at = deadline if self.kill_at == NEVER else max(self.kill_at, deadline)

    def drain(self, kill_at: float = NEVER) -> None:
        """Tell it to finish its running units and end.

        :param kill_at: when it is killed if it has not ended. An earlier time is kept.
        """
        self.kill_at = min(self.kill_at, kill_at)
        if self.state in (WorkerState.BOOTING, WorkerState.READY):
            self.become(WorkerState.DRAINING)
            self.retired = True
            self.signal(signal.SIGTERM)

    def kill(self, reason: str) -> None:
        """Kill it now; also a worker that :meth:`abort` did not end."""
        if self.killed_for is None:
            self.become(WorkerState.KILLED)
            self.killed_for = reason
        elif self.kill_at == NEVER:
            return  # it is about to die
        self.kill_at = NEVER
        self.signal(signal.SIGKILL)

    def abort(self, reason: str, now: float) -> None:
        """Have it write the stacks of its threads and die. If it does not, it is killed."""
        self.become(WorkerState.KILLED)
        self.killed_for = reason
        self.kill_at = now + ABORT_GRACE
        self.signal(signal.SIGABRT)

    def reap(self, now: float) -> WorkerDeath | None:
        """Collect the process if it has ended. Never blocks."""
        try:
            # This pid and no other: a library may have children of its own, and waits for them.
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # it has waited for ours as well
            return self._end(None, now)
        if pid:
            return self._end(os.waitstatus_to_exitcode(status), now)
        if self._has_reported:
            self._oom_kills.append(memory.oom_kills())
            self._has_reported = False
        return None

    def _end(self, code: int | None, now: float) -> WorkerDeath:
        """
        :param code: its exit status, or less than 0: of a signal; ``None`` if nobody knows.
        """
        try:
            self.read_messages(now)
        except Exception:  # it is dead, whatever its last messages were
            logger.exception("%s (pid %d): its last messages are lost", self.name, self.pid)
        self.close_descriptors()
        self._unsent.clear()
        self.commands = None
        self.become(WorkerState.DEAD)
        killed = code == -signal.SIGKILL and self.killed_for is None
        return WorkerDeath(
            self.name,
            self.pid,
            status=code if code is not None and code >= 0 else None,
            signal=_signal_name(-code) if code is not None and code < 0 else None,
            error=self.boot_error,
            was_ready=self.was_ready,
            reason=self.killed_for,
            last_unit=self.report.last_unit,
            oom=killed and memory.oom_kills() > self._oom_kills[0],
        )

    @property
    def descriptors(self) -> list[int]:
        """The descriptors of its pipes that belong to this process."""
        return [self.receiver.descriptor, *([self.commands.descriptor] if self.commands else ())]

    def close_descriptors(self) -> None:
        for descriptor in self.descriptors:
            with suppress(OSError):
                os.close(descriptor)

    def signal(self, number: signal.Signals) -> None:
        """Send it. If the system refuses that now, :meth:`flush` sends it later."""
        if number not in self._unsent:
            self._unsent.append(number)
        with suppress(OSError):
            self.flush()

    def flush(self) -> None:
        """Send what could not be sent before.

        :raises OSError: it can't be sent now either.
        """
        while self._unsent:
            # Not reaped yet, so the pid can't belong to another process.
            with suppress(ProcessLookupError):
                os.kill(self.pid, self._unsent[0])
            del self._unsent[0]
        if self.commands:
            self.commands.flush()

    def __str__(self) -> str:
        report = self.report
        units = count(report.units, "unit")
        return (
            f"{self.name} (pid {self.pid}): {units}, {report.failures} failed, "
            f"peak of {count(report.connections, 'connection')}"
        )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
