"""One unit of work: kinds of functions, what it may leave behind, and what it puts aside."""

import asyncio
import contextvars
import datetime
import decimal
import gc
import threading
import zoneinfo
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import override_settings
from django.utils import timezone, translation

from pooldaemon.workers.worker import postponement
from pooldaemon.workers.worker.activity import Activity
from pooldaemon.workers.worker.completion import complete
from pooldaemon.workers.worker.context import WorkContext
from pooldaemon.workers.worker.postponement import DELAYS, MAX_KEYS, Postponement
from pooldaemon.workers.worker.thread import WorkerThread

Perform = Callable[[WorkContext], Any]


@pytest.fixture
def ctx() -> WorkContext:
    return WorkContext("worker-1/thread-1", threading.Event())


def make_thread(perform: Perform) -> tuple[WorkerThread, Activity]:
    activity = Activity(1, lambda: None)
    ctx = WorkContext("worker-1/thread-1", threading.Event())
    return WorkerThread(ctx, perform, 2.0, activity), activity


# -- kinds of functions -----------------------------------------------------------------


async def coroutine(ctx: WorkContext) -> bool:
    await asyncio.sleep(0)
    return True


def returns_coroutine(ctx: WorkContext) -> Any:
    return coroutine(ctx)


class CallsCoroutine:
    async def __call__(self, ctx: WorkContext) -> bool:
        return await coroutine(ctx)


@pytest.mark.parametrize("perform", [coroutine, returns_coroutine, CallsCoroutine()])
def test_what_can_be_awaited_is_awaited(perform: Perform, ctx: WorkContext) -> None:
    assert complete(perform)(ctx) is True


def test_an_async_unit_says_when_it_is_to_be_called_again(ctx: WorkContext) -> None:
    async def later(ctx: WorkContext) -> datetime.timedelta:
        return datetime.timedelta(seconds=3)

    async def nothing(ctx: WorkContext) -> None:
        pass

    assert complete(later)(ctx) == datetime.timedelta(seconds=3)
    assert complete(nothing)(ctx) is False


def test_an_async_unit_that_raises_fails() -> None:
    async def fail(ctx: WorkContext) -> None:
        raise LookupError("the unit's own")

    thread, activity = make_thread(fail)
    thread.run_once()
    assert (activity.units, activity.failures) == (1, 1)


def test_synchronous_code_of_an_async_unit_runs_in_the_worker_thread(ctx: WorkContext) -> None:
    async def unit(ctx: WorkContext) -> str:
        return await sync_to_async(lambda: seen.append(threading.current_thread()))() or "done"

    seen: list[threading.Thread] = []
    assert complete(unit)(ctx)
    assert seen == [threading.current_thread()]


def generator(ctx: WorkContext) -> Iterator[int]:
    yield 1


async def async_generator(ctx: WorkContext) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("perform", [generator, async_generator])
def test_a_generator_of_which_nothing_has_run_is_an_error(
    perform: Perform, ctx: WorkContext
) -> None:
    with pytest.raises(TypeError, match=r"generator\(\) is a generator function: calling it"):
        complete(lambda ctx: perform(ctx))(ctx)  # noqa: PLW0108 - hides what it calls


def test_whether_a_result_is_true_is_asked_inside_the_unit() -> None:
    class Query:
        def __bool__(self) -> bool:
            raise LookupError("as a query may")

    thread, activity = make_thread(lambda ctx: Query())
    thread.run_once()
    assert activity.failures == 1


# -- what it leaves behind --------------------------------------------------------------

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


def test_what_a_unit_sets_in_its_context_is_not_there_in_the_next_one() -> None:
    def perform(ctx: WorkContext) -> bool:
        found = (
            variable.get(),
            str(timezone.get_current_timezone()),
            translation.get_language(),
            decimal.getcontext().prec,
        )
        seen.append(found)
        variable.set(1)
        timezone.activate(zoneinfo.ZoneInfo("Asia/Tokyo"))
        translation.activate("ja")
        decimal.setcontext(decimal.Context(prec=5))
        return True

    seen: list[Any] = []
    thread, _ = make_thread(perform)
    for _ in range(2):
        thread.run_once()
    assert seen[0] == seen[1]
    assert variable.get() == 0
    assert str(timezone.get_current_timezone()) != "Asia/Tokyo"


@override_settings(DEBUG=True)
def test_with_debug_queries_are_not_kept_from_unit_to_unit(alias: str) -> None:
    def perform(ctx: WorkContext) -> bool:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
        kept.append(len(connections[alias].queries_log))
        return True

    kept: list[int] = []
    thread, activity = make_thread(perform)
    for _ in range(20):
        thread.run_once()
    assert activity.failures == 0
    assert len(set(kept[1:])) == 1


# -- what it puts aside -----------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_failed_is_postponed_for_longer_each_time_and_a_success_forgives() -> None:
    clock = Clock()
    aside = Postponement(clock)
    ctx = WorkContext("worker-1/thread-1", threading.Event(), postponement=aside)
    for number in range(10):
        full = min(DELAYS[1], DELAYS[0] * 2**number)
        with pytest.raises(LookupError), ctx.attempt(7):
            raise LookupError
        clock.now += full / 2 - 0.01
        assert ctx.postponed == [7]
        clock.now += full / 2 + 0.02
        assert ctx.postponed == []
    with ctx.attempt(7):
        pass
    assert aside.postpone(7) <= DELAYS[0]


def test_all_threads_of_a_worker_leave_it_alone_and_others_do_not() -> None:
    stop, aside = threading.Event(), Postponement()
    one, other = (WorkContext(f"worker-1/thread-{n}", stop, postponement=aside) for n in (1, 2))
    with pytest.raises(ValueError, match="no"), one.attempt("key"):
        raise ValueError("no")
    with other.attempt("another key"):
        pass
    assert one.postponed == other.postponed == ["key"]
    assert WorkContext("worker-2/thread-1", stop).postponed == []


def test_only_so_many_are_remembered_and_those_due_first_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postponement, "MAX_KEYS", 10)
    clock = Clock()
    aside = Postponement(clock)
    for key in range(25):
        clock.now += 100
        aside.postpone(key)
    clock.now -= 100
    assert len(aside.keys) <= 10 < MAX_KEYS
    assert 24 in aside.keys


def test_an_exit_of_the_daemon_is_no_failure_of_the_row() -> None:
    ctx = WorkContext("worker-1/thread-1", threading.Event())
    with pytest.raises(SystemExit), ctx.attempt(1):
        raise SystemExit
    assert ctx.postponed == []


def test_a_unit_leaves_no_garbage() -> None:
    thread, _ = make_thread(lambda ctx: False)
    thread.run_once()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(200):
        thread.run_once()
    gc.collect()
    assert len(gc.get_objects()) - before < 100
