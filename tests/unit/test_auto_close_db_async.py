"""auto_close_db in async code: Django's connections are in the thread of its synchronous code."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async

from pooldaemon import auto_close_db
from pooldaemon.connections import UnitOfWork
from tests.unit.fakes import DEADLINE
from tests.unit.test_auto_close_db import OwnError, ask, holds

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


async def aask(alias: str) -> int:
    return await sync_to_async(ask)(alias)


async def aholds(alias: str) -> bool:
    return await sync_to_async(holds)(alias)


def test_a_coroutine_returns_its_connection_when_it_ends(alias: str) -> None:
    @auto_close_db
    async def work() -> int:
        answer = await aask(alias)
        assert await aholds(alias)
        return answer

    async def main() -> tuple[int, bool]:
        return await work(), await aholds(alias)

    assert run(main()) == (7, False)
    assert work.__name__ == "work"


def test_a_coroutine_returns_its_connection_when_it_raises_or_is_cancelled(alias: str) -> None:
    @auto_close_db
    async def failing() -> None:
        await aask(alias)
        raise OwnError

    @auto_close_db
    async def waiting(reached: asyncio.Event) -> None:
        await aask(alias)
        reached.set()
        await asyncio.Event().wait()

    async def main() -> None:
        with pytest.raises(OwnError):
            await failing()
        assert not await aholds(alias)
        reached = asyncio.Event()
        task = asyncio.ensure_future(waiting(reached))
        await reached.wait()
        assert await aholds(alias)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not await aholds(alias)

    run(main())


def test_async_with_returns_the_connection_at_its_end_and_nests(alias: str) -> None:
    async def main() -> None:
        async with auto_close_db():
            async with auto_close_db():
                await aask(alias)
            assert await aholds(alias)
        assert not await aholds(alias)

    run(main())


def test_a_task_that_outlives_its_request_returns_its_connection_where_it_ends(alias: str) -> None:
    async def main() -> None:
        begun, request_ended = asyncio.Event(), asyncio.Event()

        @auto_close_db
        async def background() -> None:
            first = await sync_to_async(threading.current_thread)()
            begun.set()
            await request_ended.wait()
            await aask(alias)
            assert await sync_to_async(threading.current_thread)() is not first

        async def task() -> bool:
            await background()
            return await aholds(alias)

        async with ThreadSensitiveContext():
            running = asyncio.ensure_future(task())
            await begun.wait()
        request_ended.set()
        assert not await running

    run(main())


def occupy_thread() -> tuple[threading.Event, asyncio.Future[bool]]:
    """Keep the thread of synchronous code busy until the event is set."""
    done = threading.Event()
    return done, asyncio.ensure_future(sync_to_async(done.wait)(DEADLINE))


def test_a_unit_that_is_cancelled_while_it_begins_leaves_no_trace(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    begin = UnitOfWork.begin

    def begin_slowly(unit: UnitOfWork) -> None:
        begin(unit)
        begun.set()
        assert go_on.wait(DEADLINE)

    monkeypatch.setattr(UnitOfWork, "begin", begin_slowly)

    @auto_close_db
    async def unit() -> None:
        await aask(alias)

    async def main() -> None:
        beginning = asyncio.ensure_future(unit())
        await asyncio.to_thread(begun.wait, DEADLINE)
        beginning.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        await unit()
        assert not await aholds(alias), "the cancelled unit still counts"

    run(main())


def test_a_unit_that_is_cancelled_while_it_ends_returns_its_connection(alias: str) -> None:
    async def main() -> None:
        about_to_end, end = asyncio.Event(), asyncio.Event()

        @auto_close_db
        async def unit() -> None:
            await aask(alias)
            about_to_end.set()
            await end.wait()

        ending = asyncio.ensure_future(unit())
        await about_to_end.wait()
        free, occupied = occupy_thread()
        await asyncio.sleep(0)
        end.set()
        for _ in range(3):
            await asyncio.sleep(0)
            ending.cancel()
        free.set()
        assert await occupied
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert not await aholds(alias)

    run(main())


def test_with_in_an_event_loop_is_refused_with_what_to_write(alias: str) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="needs 'async with'"), auto_close_db():
            pass

    run(main())
    with auto_close_db():  # the refused one has left no trace
        ask(alias)
    assert not holds(alias)


def test_a_plain_decorated_function_in_an_event_loop_is_refused() -> None:
    @auto_close_db
    def work() -> None:
        raise AssertionError("it ran")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="needs 'async with'"):
            work()

    run(main())


def test_an_async_generator_returns_its_connection_when_it_ends(alias: str) -> None:
    closed: list[str] = []

    @auto_close_db
    async def numbers() -> AsyncGenerator[int, Any]:
        try:
            for number in range(3):
                await aask(alias)
                yield number
        finally:
            closed.append("inner")

    async def main() -> None:
        assert [number async for number in numbers()] == [0, 1, 2]
        assert not await aholds(alias)
        generator = numbers()
        assert await anext(generator) == 0
        assert await aholds(alias)
        await generator.aclose()
        assert not await aholds(alias)

    run(main())
    assert closed == ["inner", "inner"]
    assert numbers.__name__ == "numbers"


def test_an_async_generator_passes_on_what_is_sent_and_thrown(alias: str) -> None:
    heard: list[Any] = []

    @auto_close_db
    async def echo() -> AsyncGenerator[int, Any]:
        try:
            heard.append((yield 1))
            yield 2
        except OwnError:
            heard.append("thrown")
            yield 3

    async def main() -> None:
        generator = echo()
        await anext(generator)
        assert await generator.asend("sent") == 2
        assert await generator.athrow(OwnError()) == 3
        await generator.aclose()

    run(main())
    assert heard == ["sent", "thrown"]


def test_an_object_with_an_async_call_returns_its_connection_once_awaited(alias: str) -> None:
    class Work:
        async def __call__(self) -> int:
            return await aask(alias)

    async def main() -> None:
        assert await auto_close_db(Work())() == 7
        assert not await aholds(alias)

    run(main())
