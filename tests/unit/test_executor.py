"""The executor: a task leaves no connection in its thread, all else is as in the base class."""

import asyncio
import threading
import traceback
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from pooldaemon import PooledThreadPoolExecutor, auto_close_db, pool_stats
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE
from tests.unit.test_auto_close_db import OwnError, ask, holds

NAME: ContextVar[str] = ContextVar("NAME")


def make_file(alias: str) -> None:
    """Let one thread create SQLite's file: two at once get in each other's way."""
    auto_close_db(ask)(alias)


def in_use() -> list[int]:
    return [pool.in_use for pool in pool_stats()]


def fail(alias: str) -> None:
    ask(alias)
    raise OwnError


def test_a_thread_of_the_base_class_keeps_its_connection(alias: str) -> None:
    with ThreadPoolExecutor(1) as executor:
        executor.submit(ask, alias).result()
        assert in_use() == [1]


def test_a_connection_is_back_when_the_future_is_done(alias: str) -> None:
    def held(number: int, *, plus: int) -> tuple[int, bool]:
        return ask(alias) + number + plus, holds(alias)

    with PooledThreadPoolExecutor(1) as executor:
        assert executor.submit(held, 1, plus=2).result() == (10, True)
        assert in_use() == [0]


def test_a_failed_task_returns_its_connection_and_its_traceback_names_its_line(alias: str) -> None:
    with PooledThreadPoolExecutor(1) as executor:
        error = executor.submit(fail, alias).exception()
        assert in_use() == [0]
    assert isinstance(error, OwnError)
    assert traceback.extract_tb(error.__traceback__)[-1].line == "raise OwnError"


def test_map_returns_connections_and_more_threads_than_connections_take_turns(
    add_sqlite: AddDatabase,
) -> None:
    alias = add_sqlite(pool_size=2, timeout=DEADLINE)
    make_file(alias)
    together = threading.Barrier(8)

    def task(_number: int) -> int:
        together.wait(DEADLINE)
        return ask(alias)

    with PooledThreadPoolExecutor(8) as executor:
        assert list(executor.map(task, range(80))) == [7] * 80
    assert in_use() == [0]
    assert [pool.peak <= 2 for pool in pool_stats()] == [True]


def test_the_initializer_returns_its_connection(add_sqlite: AddDatabase) -> None:
    alias = add_sqlite(pool_size=1, timeout=0)
    executor = PooledThreadPoolExecutor(1, initializer=ask, initargs=(alias,))
    with executor:
        assert executor.submit(in_use).result() == [0]


def test_a_failed_initializer_breaks_the_pool(alias: str, caplog: pytest.LogCaptureFixture) -> None:
    with (
        PooledThreadPoolExecutor(1, initializer=fail, initargs=(alias,)) as executor,
        pytest.raises(BrokenExecutor),
    ):
        executor.submit(ask, alias).result()
    assert "Exception in initializer" in caplog.text


@pytest.mark.parametrize(
    "arguments", [{"max_workers": 0}, {"initializer": 5}, {"nonsense": 1}], ids=str
)
def test_wrong_arguments_get_the_error_of_the_base_class(arguments: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)) as ours:
        PooledThreadPoolExecutor(**arguments)
    with pytest.raises((TypeError, ValueError)) as theirs:
        ThreadPoolExecutor(**arguments)
    assert ours.type is theirs.type
    # Since Python 3.14 an unknown argument is refused by a method that __init__() calls.
    expected = str(theirs.value).replace(".prepare_context()", ".__init__()")
    assert str(ours.value).removeprefix("Pooled") == expected


def test_threads_bear_the_given_name() -> None:
    with PooledThreadPoolExecutor(1, "import") as executor:
        assert executor.submit(threading.current_thread).result().name == "import_0"


def test_what_waits_can_be_cancelled_and_what_runs_is_finished() -> None:
    started, go_on = threading.Event(), threading.Event()

    def run() -> int:
        started.set()
        assert go_on.wait(DEADLINE)
        return 7

    with PooledThreadPoolExecutor(1) as executor:
        running = executor.submit(run)
        assert started.wait(DEADLINE)
        cancelled, dropped = executor.submit(run), executor.submit(run)
        assert cancelled.cancel()
        assert not running.cancel()
        executor.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(run)
        go_on.set()
    assert running.result() == 7
    with pytest.raises(CancelledError):
        dropped.result()


@pytest.mark.parametrize(("kind", "left"), [(ThreadPoolExecutor, 3), (PooledThreadPoolExecutor, 0)])
def test_it_serves_asyncio_as_default_executor(alias: str, kind: type[Executor], left: int) -> None:
    make_file(alias)
    together = threading.Barrier(3)

    def task() -> tuple[int, str]:
        together.wait(DEADLINE)  # each in a thread of its own
        return ask(alias), NAME.get("none")

    async def main() -> list[tuple[int, str]]:
        loop = asyncio.get_running_loop()
        executor = kind(3)
        loop.set_default_executor(executor)
        NAME.set("caller's")
        answers = await asyncio.gather(
            asyncio.to_thread(task),
            sync_to_async(task, thread_sensitive=False)(),
            loop.run_in_executor(None, task),
        )
        assert in_use() == [left]
        return answers

    # The context goes where it goes with the base class.
    assert asyncio.run(main()) == [(7, "caller's"), (7, "caller's"), (7, "none")]
