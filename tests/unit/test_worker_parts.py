"""The small parts of workers: delays, activity, the context, and one round of a thread."""

import datetime
import logging
import random
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.db import OperationalError

from pooldaemon.backoff import Backoff
from pooldaemon.conf import DaemonConfig
from pooldaemon.console.words import duration
from pooldaemon.management.table import progress
from pooldaemon.workers.supervisor.worker_set import GOOD_LIFE, RESPAWN_DELAY, WorkerSlot
from pooldaemon.workers.worker.activity import Activity
from pooldaemon.workers.worker.context import PROGRESS_INTERVAL, WorkContext
from pooldaemon.workers.worker.recycle import RecycleLimits
from pooldaemon.workers.worker.retry import with_retries
from pooldaemon.workers.worker.thread import PAUSES, WorkerThread
from tests.support.poll import wait_until

# -- delays -----------------------------------------------------------------------------


def test_delays_double_up_to_the_longest_with_jitter() -> None:
    for _ in range(50):
        backoff = Backoff(1.0, 10.0)
        for full in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
            assert full / 2 <= backoff.next_delay() <= full


def test_delays_differ_between_those_who_failed_together() -> None:
    assert len({Backoff(1.0, 10.0).next_delay() for _ in range(20)}) > 1


def test_after_a_success_delays_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    backoff = Backoff(0.5, 30.0)
    assert [backoff.next_delay() for _ in range(3)] == [0.5, 1.0, 2.0]
    assert backoff.failures == 3
    backoff.reset()
    assert backoff.next_delay() == 0.5


def test_a_very_long_outage_does_not_overflow() -> None:
    backoff = Backoff(1.0, 30.0)
    backoff.failures = 10_000
    assert backoff.next_delay() <= 30.0


# -- activity ---------------------------------------------------------------------------


class Told:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def test_a_worker_is_idle_when_each_of_its_threads_found_nothing() -> None:
    told = Told()
    activity = Activity(2, told)
    assert not activity.idle
    activity.nothing("a", activity.look("a"))
    activity.nothing("a", activity.look("a"))
    assert not activity.idle, "the same thread twice"
    activity.nothing("b", activity.look("b"))
    assert activity.idle
    assert told.times == 1


@pytest.mark.parametrize("event", ["worked", "waiting"])
def test_a_new_look_ends_idleness_and_is_told_once(event: str) -> None:
    told = Told()
    activity = Activity(1, told)
    activity.nothing("a", activity.look("a"))
    activity.look("a")
    assert not activity.idle, "it may find work and make more"
    assert told.times == 2
    getattr(activity, event)()
    assert not activity.idle
    assert told.times == 2, "busy already"


@pytest.mark.parametrize("event", ["worked", "waiting"])
def test_a_look_that_began_before_the_last_work_does_not_count(event: str) -> None:
    activity = Activity(1, Told())
    looked = activity.look("a")
    getattr(activity, event)()
    activity.nothing("a", looked)
    assert not activity.idle
    activity.nothing("a", activity.look("a"))
    assert activity.idle


def test_units_and_failures_are_counted_and_looks_are_not() -> None:
    activity = Activity(1, Told())
    activity.worked()
    activity.worked(failed=True)
    activity.waiting()
    activity.nothing("a", activity.look("a"))
    assert (activity.units, activity.failures) == (2, 1)


# -- the context ------------------------------------------------------------------------


def test_a_context_tells_its_name_and_whether_to_stop() -> None:
    stop = threading.Event()
    ctx = WorkContext("worker-1/thread-3", stop)
    assert ctx.name == "worker-1/thread-3"
    assert not ctx.stopping
    assert ctx.wait(0) is False
    stop.set()
    assert ctx.stopping
    assert ctx.wait(60) is True


# -- one round of a thread --------------------------------------------------------------


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


# -- lives ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "used", "reason"),
    [
        (DaemonConfig(max_units=100), (100, 0, 0.0), "100 units done"),
        (DaemonConfig(max_rss=100), (0, 100 * 2**20, 0.0), "100 MiB of memory in use"),
        (DaemonConfig(max_age=100.0), (0, 0, 100.0), "100 s old"),
    ],
    ids=["units", "memory", "age"],
)
def test_a_worker_is_replaced_at_a_limit_or_up_to_a_tenth_before(
    config: DaemonConfig, used: tuple[int, int, float], reason: str
) -> None:
    for _ in range(20):
        assert RecycleLimits(config, started=0.0).exceeded(*used) == reason
        early = [amount * 0.89 for amount in used]
        assert RecycleLimits(config, started=0.0).exceeded(*early) is None


def test_workers_that_started_together_do_not_leave_together() -> None:
    config = DaemonConfig(max_units=1000)
    over = [RecycleLimits(config, started=0.0).exceeded(950, 0, 0.0) for _ in range(100)]
    assert None in over
    assert "950 units done" in over


def test_without_limits_a_life_is_never_over() -> None:
    assert RecycleLimits(DaemonConfig(), started=0.0).exceeded(10**9, 2**50, 1e9) is None


class Dead:
    """What a place looks at when its worker has died."""

    def __init__(self, *, was_ready: bool) -> None:
        self.started = 0.0
        self.was_ready = was_ready


def test_only_deaths_at_work_count_as_crashes_and_a_good_minute_forgives_them() -> None:
    place: Any = WorkerSlot()
    for _ in range(3):
        place.delay_after(Dead(was_ready=True), now=1.0)
    place.delay_after(Dead(was_ready=False), now=1.0)
    assert place.crashes == 3
    place.delay_after(Dead(was_ready=True), now=GOOD_LIFE)
    assert place.crashes == 1


def test_the_first_death_at_work_is_replaced_at_once_and_later_ones_after_growing_delays() -> None:
    place: Any = WorkerSlot()
    first, longest = RESPAWN_DELAY
    assert place.delay_after(Dead(was_ready=True), now=1.0) == 0
    for number in range(7):
        delay = min(longest, first * 2**number)
        assert delay / 2 <= place.delay_after(Dead(was_ready=True), now=1.0) <= delay
    assert place.delay_after(Dead(was_ready=True), now=GOOD_LIFE) == 0


def test_a_worker_that_cannot_boot_is_never_replaced_at_once() -> None:
    place: Any = WorkerSlot()
    place.delay_after(Dead(was_ready=True), now=1.0)
    delays = [place.delay_after(Dead(was_ready=False), now=1.0) for _ in range(3)]
    assert all(delay >= RESPAWN_DELAY[0] / 2 for delay in delays)
    unlucky: Any = WorkerSlot()
    assert unlucky.delay_after(Dead(was_ready=False), now=1.0) > 0
    assert unlucky.delay_after(Dead(was_ready=True), now=1.0) > 0


# -- further tries ----------------------------------------------------------------------


class Unit:
    """Fails with these errors, one after the other, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.tries = 0

    def __call__(self, ctx: WorkContext) -> str:
        self.tries += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


DEADLOCK = OperationalError(1213, "Deadlock found when trying to get lock")
LOCK_WAIT = OperationalError(1205, "Lock wait timeout exceeded")


@pytest.fixture
def ctx(monkeypatch: pytest.MonkeyPatch) -> WorkContext:
    """One that does not wait."""
    monkeypatch.setattr(WorkContext, "wait", lambda self, seconds: self.stopping)
    return WorkContext("worker-1/thread-1", threading.Event())


def test_a_unit_that_met_a_lock_is_tried_again(ctx: WorkContext) -> None:
    unit = Unit(DEADLOCK, LOCK_WAIT)
    assert with_retries(unit, 2)(ctx) == "done"
    assert unit.tries == 3


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_after_so_many_further_tries_the_error_stands(ctx: WorkContext, retries: int) -> None:
    unit = Unit(*[DEADLOCK] * 10)
    with pytest.raises(OperationalError, match="Deadlock"):
        with_retries(unit, retries)(ctx)
    assert unit.tries == retries + 1


@pytest.mark.parametrize(
    "error", [OperationalError(2006, "gone away"), OperationalError("text"), ValueError(1213)]
)
def test_other_errors_are_not_tried_again(ctx: WorkContext, error: Exception) -> None:
    unit = Unit(error)
    with pytest.raises(type(error)):
        with_retries(unit, 5)(ctx)
    assert unit.tries == 1


def test_a_worker_that_drains_tries_nothing_again() -> None:
    stop = threading.Event()
    stop.set()
    unit = Unit(DEADLOCK)
    with pytest.raises(OperationalError):
        with_retries(unit, 5)(WorkContext("worker-1/thread-1", stop))
    assert unit.tries == 1


# -- progress ---------------------------------------------------------------------------


def test_progress_is_passed_on_now_and_then_and_ends_with_the_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    told: list[Any] = []
    ctx = WorkContext("worker-1/thread-1", threading.Event(), lambda *args: told.append(args[1:]))
    ctx.end_unit()
    assert told == [], "it had told nothing"
    for done in range(10):
        ctx.progress(done, 10)
    now += PROGRESS_INTERVAL
    ctx.progress(10)
    ctx.end_unit()
    ctx.end_unit()
    assert told == [(0, 10), (10, None), (None, None)]
    ctx.progress(1)
    assert told[-1] == (1, None)


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [
        (30, 120, "[#####...............]  25%  30 of 120"),
        (120, 120, "[####################] 100%  120 of 120"),
        (130, 120, "[####################] 100%  130 of 120"),
        (7.5, None, "7.5"),
        (0, 0, "0"),
    ],
)
def test_progress_is_shown_as_a_bar_where_the_total_is_known(
    done: float, total: float | None, shown: str
) -> None:
    assert progress(done, total, bar=True) == shown
    assert progress(done, total, bar=False) == shown.rpartition("] ")[2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.54, "2.5 s"), (200, "3 min"), (7500, "2 h 5 min"), (3 * 86400 + 4 * 3600, "3 d 4 h")],
)
def test_durations_are_shown_in_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((3, 10), (3, 10)),
        ((Decimal("0.5"), Fraction(3, 2)), (0.5, 1.5)),
        ((1, float("nan")), (1, None)),
        ((1, float("inf")), (1, None)),
        ((2**100, 10**5000), (2.0**100, None)),
        ((float("nan"), 10), None),
        ((float("-inf"), None), None),
    ],
)
def test_progress_that_is_told_is_json(
    given: tuple[Any, Any], told: tuple[float, float | None] | None
) -> None:
    seen: list[Any] = []
    ctx = WorkContext("thread", threading.Event(), lambda *progress: seen.append(progress))
    ctx.progress(*given)
    assert seen == ([] if told is None else [("thread", *told)])


@pytest.mark.parametrize("given", [("many", 10), (1, "ten"), (None, 10), (1, 1j)])
def test_progress_that_is_no_number_is_a_mistake(given: tuple[Any, Any]) -> None:
    ctx = WorkContext("thread", threading.Event())
    with pytest.raises(TypeError, match=r"progress\(\) takes numbers, not"):
        ctx.progress(*given)
