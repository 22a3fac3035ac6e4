"""When the sessions of dead workers are ended."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from pooldaemon.conf import DaemonConfig
from pooldaemon.sessions import Session
from pooldaemon.workers.ipc.channel import Receiver, Sender
from pooldaemon.workers.supervisor.handle import NEVER, WorkerHandle, WorkerState
from pooldaemon.workers.supervisor.reaper import SUCCESSOR_FIRST, Reaper


class Helpers:
    """A spawner in which nobody is born."""

    def __init__(self) -> None:
        self.sent = 0

    def fork_helper(self, work: Callable[[], None]) -> None:
        self.sent += 1


def worker(*sessions: int, started: float = 0.0) -> WorkerHandle:
    receiver: Any = None
    handle = WorkerHandle("worker-1", 0, receiver, started, {})
    handle.sessions = {Session("default", number, 4000 + number) for number in sessions}
    return handle


def guard_of(helpers: Any) -> Reaper:
    return Reaper(DaemonConfig(), helpers, lambda: None)


def test_the_sessions_of_the_dead_are_ended_at_once_if_nobody_has_just_begun() -> None:
    helpers = Helpers()
    guard = guard_of(helpers)
    guard.note_dead(worker(1), 10.0)
    assert len(guard.sessions) == 1
    guard.end_sessions([worker()], 10.0)
    assert (helpers.sent, guard.sessions, guard.end_at) == (1, set(), NEVER)
    guard.end_sessions([], 20.0)
    assert helpers.sent == 1


def test_a_successor_boots_and_begins_first_for_a_moment() -> None:
    helpers = Helpers()
    guard = guard_of(helpers)
    successor = worker(started=10.0)
    guard.note_dead(worker(1), 10.0)
    guard.note_dead(worker(2), 10.0 + SUCCESSOR_FIRST / 4)
    guard.end_sessions([successor], 10.0 + SUCCESSOR_FIRST / 2)
    assert helpers.sent == 0
    successor.become(WorkerState.READY)
    guard.end_sessions([successor], 10.0 + SUCCESSOR_FIRST / 2)
    assert helpers.sent == 0
    assert guard.end_at == 10.0 + SUCCESSOR_FIRST
    guard.end_sessions([successor], guard.end_at)
    assert helpers.sent == 2


def test_a_session_that_a_living_worker_has_is_not_ended() -> None:
    helpers = Helpers()
    guard = guard_of(helpers)
    guard.note_dead(worker(1), 10.0)
    guard.end_sessions([worker(1)], 10.0 + SUCCESSOR_FIRST)
    assert helpers.sent == 0


class Killed(WorkerHandle):
    """Its process is not there."""

    def signal(self, number: int) -> None:
        self.signalled = number


def killed(kind: str, *, seconds: float = 5.0) -> tuple[Reaper, Killed, list[str]]:
    """A worker that drains from 0 to 10, and then reports that it exits."""
    lost: list[str] = []
    guard = Reaper(DaemonConfig(), Helpers(), lambda: lost.append("units"))  # type: ignore[arg-type]
    reading, writing = os.pipe()
    worker = Killed("worker-1", 0, Receiver(reading), 0.0, {})
    worker.become(WorkerState.READY)
    worker.was_ready = True
    worker.drain(10.0)
    sender = Sender(writing)
    sender.send(kind, seconds=seconds)
    sender.close()
    return guard, worker, lost


@pytest.mark.parametrize(
    ("drained_at", "seconds", "until"), [(9, 5, 14), (1, 5, 10), (9.5, 0.5, 10)]
)
def test_the_last_hook_has_a_time_of_its_own_or_what_is_left(
    drained_at: float, seconds: float, until: float
) -> None:
    guard, worker, lost = killed("exiting", seconds=seconds)
    worker.read_messages(drained_at)
    worker.receiver.close()
    assert worker.state is WorkerState.EXITING
    guard.judge(worker, until - 0.1)
    assert (worker.state, lost) == (WorkerState.EXITING, [])
    guard.judge(worker, until)
    assert (worker.killed_for, lost) == ("worker_exit took too long", ["units"])


def test_a_worker_that_is_in_its_last_hook_still_has_to_report() -> None:
    guard, worker, _ = killed("exiting", seconds=1000.0)
    worker.read_messages(0.0)
    worker.receiver.close()
    guard.judge(worker, DaemonConfig().heartbeat_timeout)
    assert worker.killed_for == "no heartbeat for 30 s"
