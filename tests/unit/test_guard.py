"""When the sessions of dead workers are ended."""

from collections.abc import Callable
from typing import Any

from pooldaemon.conf import DaemonConfig
from pooldaemon.sessions import Session
from pooldaemon.workers.guard import SUCCESSOR_FIRST, Guard
from pooldaemon.workers.handle import NEVER, WorkerHandle, WorkerState


class Helpers:
    """A nursery in which nobody is born."""

    def __init__(self) -> None:
        self.sent = 0

    def fork_helper(self, work: Callable[[], None]) -> None:
        self.sent += 1


def worker(*sessions: int, started: float = 0.0) -> WorkerHandle:
    receiver: Any = None
    handle = WorkerHandle("worker-1", 0, receiver, started, {})
    handle.sessions = {Session("default", number, 4000 + number) for number in sessions}
    return handle


def guard_of(helpers: Any) -> Guard:
    return Guard(DaemonConfig(), helpers, lambda: None)


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
