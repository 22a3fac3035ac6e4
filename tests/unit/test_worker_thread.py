"""A worker thread: what it does after each unit of work, and when it ends."""

import datetime
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pooldaemon.workers.worker.activity import Activity
from pooldaemon.workers.worker.context import WorkContext
from pooldaemon.workers.worker.thread import PAUSES, WorkerThread
from tests.support.poll import wait_until


def make_thread(
    perform: Callable[[WorkContext], Any], idle_interval: float = 2.0
) -> tuple[WorkerThread, Activity]:
    activity = Activity(1, lambda: None)
    ctx = WorkContext("worker-1/thread-1", threading.Event())
    return WorkerThread(ctx, perform, idle_interval, activity), activity


@pytest.mark.parametrize("result", [True, 1, "done", [0]])
def test_after_work_the_thread_comes_back_at_once(result: Any) -> None:
    thread, activity = make_thread(lambda ctx: result)
    assert thread.run_once() == 0.0
    assert (activity.units, activity.idle) == (1, False)


@pytest.mark.parametrize("result", [None, False, 0, ""])
def test_without_work_it_waits_the_idle_interval_and_is_idle(result: Any) -> None:
    thread, activity = make_thread(lambda ctx: result)
    assert thread.run_once() == 2.0
    assert (activity.units, activity.idle) == (0, True)


@pytest.mark.parametrize(("due", "pause"), [(0.5, 0.5), (60, 2.0), (-5, 0.0), (0, 0.0)])
def test_with_work_that_is_not_due_it_waits_that_long_and_is_not_idle(
    due: float, pause: float
) -> None:
    thread, activity = make_thread(lambda ctx: datetime.timedelta(seconds=due))
    assert thread.run_once() == pause
    assert not activity.idle


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3)])
def test_a_unit_that_raises_is_logged_with_traceback_and_backs_off(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(ctx: WorkContext) -> None:
        raise error

    thread, activity = make_thread(fail)
    pauses = [thread.run_once() for _ in range(4)]
    for pause, full in zip(pauses, (0.05, 0.1, 0.2, 0.4), strict=True):
        assert full / 2 <= pause <= full
    assert (activity.units, activity.failures) == (4, 4)
    record = caplog.records[0]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert (
        "worker-1/thread-1: a unit of work failed; the next one starts in " in record.getMessage()
    )


def test_a_success_ends_the_growing_of_delays() -> None:
    results: list[Any] = [ValueError, ValueError, ValueError, True, ValueError]

    def perform(ctx: WorkContext) -> Any:
        result = results.pop(0)
        if result is ValueError:
            raise ValueError
        return result

    thread, _ = make_thread(perform)
    pauses = [thread.run_once() for _ in range(5)]
    assert pauses[2] >= 0.1
    assert pauses[4] <= 0.05


def test_no_delay_is_longer_than_half_a_minute() -> None:
    def fail(ctx: WorkContext) -> None:
        raise ValueError

    thread, _ = make_thread(fail)
    pauses = [thread.run_once() for _ in range(20)]
    assert 15.0 <= max(pauses) <= PAUSES[1] == 30.0


def test_a_thread_runs_until_it_is_told_to_stop() -> None:
    stop = threading.Event()
    rounds: list[str] = []

    def perform(ctx: WorkContext) -> bool:
        rounds.append(ctx.name)
        if len(rounds) == 3:
            stop.set()
        return True

    ctx = WorkContext("worker-1/thread-1", stop)
    thread = WorkerThread(ctx, perform, 60.0, Activity(1, lambda: None))
    assert (thread.name, thread.daemon) == ("worker-1/thread-1", True)
    thread.start()
    thread.join(5)
    assert rounds == ["worker-1/thread-1"] * 3


def test_a_thread_that_is_held_begins_nothing_until_it_is_not_and_ends_when_told() -> None:
    stop, held, begun = threading.Event(), threading.Event(), threading.Event()
    held.set()

    def perform(ctx: WorkContext) -> bool:
        assert not held.is_set()
        held.set()
        begun.set()
        return True

    looks: list[bool] = []

    def is_held() -> bool:
        looks.append(held.is_set())
        return looks[-1]

    activity = Activity(1, lambda: None)
    ctx = WorkContext("worker-1/thread-1", stop)
    thread = WorkerThread(ctx, perform, 60.0, activity, is_held=is_held)
    thread.start()
    wait_until(lambda: len(looks) == 3, 5, "it looks no more")
    assert not begun.is_set()  # or it would have begun after the first look
    held.clear()
    assert begun.wait(5)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert (activity.units, activity.failures) == (1, 0)
