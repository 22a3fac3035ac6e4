"""The supervisor's view of a worker: its states, its messages, its death."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from pooldaemon.workers.ipc.channel import Receiver, Sender
from pooldaemon.workers.ipc.report import Report
from pooldaemon.workers.process import memory
from pooldaemon.workers.supervisor.handle import TRANSITIONS, WorkerDeath, WorkerHandle, WorkerState
from tests.support.poll import wait_until

DEADLINE = 30.0
STATES = list(WorkerState)


class Child:
    """A handle on a real process that runs `code`, and the worker's end of its channel."""

    def __init__(self, code: str) -> None:
        reading, self.writing = os.pipe()
        self.sender = Sender(self.writing)
        python = sys.executable
        self.pid = os.posix_spawn(python, [python, "-S", "-E", "-c", code], {})
        self.handle = WorkerHandle("worker-1", self.pid, Receiver(reading), started=0.0, caps={})

    def reap(self) -> WorkerDeath:
        death = wait_until(lambda: self.handle.reap(0.0), DEADLINE, "the process did not end")
        assert death is not None
        return death

    def close(self) -> None:
        if self.handle.state is not WorkerState.DEAD:
            self.handle.kill("a test")
            self.reap()
        os.close(self.writing)


@pytest.fixture
def sleeper() -> Iterator[Child]:
    child = Child("import signal; signal.pause()")
    yield child
    child.close()


@pytest.mark.parametrize("target", STATES)
@pytest.mark.parametrize("state", STATES)
def test_only_the_moves_of_the_table_are_allowed(
    sleeper: Child, state: WorkerState, target: WorkerState
) -> None:
    handle = sleeper.handle
    handle.state = state
    try:
        if target in TRANSITIONS[state]:
            handle.become(target)
            assert handle.state is target
        else:
            message = f"worker-1: {state.value} can't become {target.value}"
            with pytest.raises(RuntimeError, match=message):
                handle.become(target)
            assert handle.state is state
    finally:
        handle.state = WorkerState.BOOTING


def test_nobody_comes_back_from_the_dead_and_all_can_die() -> None:
    assert TRANSITIONS[WorkerState.DEAD] == set()
    living = set(WorkerState) - {WorkerState.DEAD}
    assert all(WorkerState.DEAD in TRANSITIONS[state] for state in living)
    assert set(TRANSITIONS) == set(WorkerState)


def test_messages_change_what_is_known_of_the_worker(sleeper: Child) -> None:
    handle = sleeper.handle
    assert not handle.was_ready
    sleeper.sender.send("ready")
    sleeper.sender.send("heartbeat", idle=True, units=5, failures=2, connections=3, later=1)
    sleeper.sender.send("some news of a later version", x=1)
    handle.read_messages(0.0)
    assert (handle.state, handle.was_ready) == (WorkerState.READY, True)
    assert handle.report == Report(idle=True, units=5, failures=2, connections=3)
    assert str(handle) == (
        f"worker-1 (pid {sleeper.pid}): 5 units, 2 failed, peak of 3 connections"
    )


def test_a_worker_that_gets_ready_while_it_drains_goes_on_draining(sleeper: Child) -> None:
    sleeper.handle.drain()
    sleeper.sender.send("ready")
    sleeper.handle.read_messages(0.0)
    assert sleeper.handle.state is WorkerState.DRAINING


def test_draining_sends_term_once_and_killing_sends_kill(
    sleeper: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    handle = sleeper.handle
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", lambda pid, number: sent.append(number))
        handle.drain()
        handle.drain()
        handle.kill("a test")
        handle.kill("a test")
        handle.drain()
    assert sent == [signal.SIGTERM, signal.SIGKILL]
    assert handle.state is WorkerState.KILLED
    os.kill(sleeper.pid, signal.SIGKILL)
    sleeper.reap()


def test_a_process_that_runs_is_not_reaped(sleeper: Child) -> None:
    assert sleeper.handle.reap(0.0) is None
    assert sleeper.handle.state is WorkerState.BOOTING


def test_a_signal_that_ended_the_worker_is_named(sleeper: Child) -> None:
    sleeper.handle.kill("a test")
    death = sleeper.reap()
    assert (death.status, death.signal) == (None, "SIGKILL")
    assert str(death) == (
        f"worker-1 (pid {sleeper.pid}) was ended by SIGKILL, by the supervisor: a test, "
        "before it was ready"
    )
    assert sleeper.handle.state is WorkerState.DEAD


def test_a_signal_without_a_name_of_its_own_is_reported_too(sleeper: Child) -> None:
    os.kill(sleeper.pid, signal.SIGRTMIN + 3)
    assert str(signal.SIGRTMIN + 3) in str(sleeper.reap())


def test_an_exit_status_is_reported() -> None:
    child = Child("import os; os._exit(70)")
    death = child.reap()
    assert (death.status, death.signal, death.error) == (70, None, None)
    assert str(death) == f"worker-1 (pid {child.pid}) exited with status 70, before it was ready"
    child.close()


def test_a_worker_that_could_not_boot_says_why_with_its_last_words() -> None:
    child = Child("import os; os._exit(3)")
    child.sender.send("boot_failed", error="OperationalError: no route to host")
    death = child.reap()
    assert death.error == "OperationalError: no route to host"
    assert str(death) == (
        f"worker-1 (pid {child.pid}) could not start: OperationalError: no route to host"
    )
    child.close()


def test_a_worker_killed_by_nobody_we_know_may_have_been_killed_for_its_memory(
    sleeper: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper.sender.send("ready")
    sleeper.sender.send("heartbeat", longest=["worker-1/thread-2", 3.14])
    sleeper.handle.read_messages(0.0)
    kills = memory.oom_kills()
    monkeypatch.setattr(memory, "oom_kills", lambda: kills + 1)
    os.kill(sleeper.pid, signal.SIGKILL)
    death = sleeper.reap()
    assert death.oom
    assert str(death) == (
        f"worker-1 (pid {sleeper.pid}) was ended by SIGKILL, as it seems by the kernel, for want "
        "of memory, its longest unit was in worker-1/thread-2 for 3.1 s"
    )


def test_a_worker_killed_for_its_memory_is_known_although_its_last_report_is_read_late(
    sleeper: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper.sender.send("heartbeat")
    sleeper.handle.read_messages(0.0)
    assert sleeper.handle.reap(0.0) is None
    sleeper.sender.send("heartbeat")
    kills = memory.oom_kills()
    monkeypatch.setattr(memory, "oom_kills", lambda: kills + 1)
    os.kill(sleeper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet collected
    sleeper.handle.read_messages(1.0)
    assert sleeper.reap().oom


def test_an_earlier_kill_for_memory_is_not_taken_for_the_workers(
    sleeper: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = memory.oom_kills()
    monkeypatch.setattr(memory, "oom_kills", lambda: kills + 1)
    for _ in range(2):
        sleeper.sender.send("heartbeat")
        sleeper.handle.read_messages(0.0)
        assert sleeper.handle.reap(0.0) is None
    os.kill(sleeper.pid, signal.SIGKILL)
    assert not sleeper.reap().oom


def test_a_worker_that_is_killed_by_us_was_not_killed_for_its_memory(
    sleeper: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = memory.oom_kills()
    monkeypatch.setattr(memory, "oom_kills", lambda: kills + 1)
    sleeper.handle.kill("a test")
    assert not sleeper.reap().oom


def test_the_sessions_that_a_worker_has_open_are_known(sleeper: Child) -> None:
    for number in (5, 6):
        sleeper.sender.send("session", alias="default", number=number, port=40000)
    sleeper.sender.send("session_over", alias="default", number=5, port=40000)
    sleeper.handle.read_messages(0.0)
    assert sleeper.handle.sessions == {("default", 6, 40000)}


def test_a_worker_that_leaves_by_itself_drains_and_its_death_is_no_failure(sleeper: Child) -> None:
    sleeper.sender.send("ready")
    sleeper.sender.send("leaving", reason="1000 units done")
    sleeper.handle.read_messages(0.0)
    assert (sleeper.handle.state, sleeper.handle.retired) == (WorkerState.DRAINING, True)
