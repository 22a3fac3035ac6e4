"""use_database in async code: tasks that share a thread have each its own database."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError

from pooldaemon import auto_close_db, use_database
from pooldaemon.exceptions import PoolError
from tests.unit.test_use_database import in_use, where


async def awhere(alias: str) -> Any:
    return await sync_to_async(where)(alias)


@sync_to_async
def aclose(alias: str) -> None:
    connections[alias].close()


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def test_plain_with_is_refused_in_a_coroutine(alias: str) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="needs 'async with'"), use_database(alias):
            pass

    run(main())


def test_an_async_block_has_its_database(alias: str, tenants: list[str]) -> None:
    base, one, two = tenants

    async def main() -> None:
        before = await sync_to_async(lambda: connections[alias])()
        async with use_database(alias, NAME=one):
            assert await awhere(alias) == one
            async with use_database(alias, NAME=two):
                assert await awhere(alias) == two
            assert await awhere(alias) == one
            assert await sync_to_async(in_use)() == 1
        assert await awhere(alias) == base
        assert await sync_to_async(lambda: connections[alias])() is before
        await sync_to_async(before.close)()
        assert in_use() == 0

    run(main())


def test_tasks_that_share_a_thread_have_each_its_own(alias: str, tenants: list[str]) -> None:
    async def look(name: str, meeting: asyncio.Barrier) -> None:
        async with use_database(alias, NAME=name), auto_close_db():
            for _ in range(5):
                await meeting.wait()
                assert await awhere(alias) == name

    async def without(meeting: asyncio.Barrier) -> None:
        for _ in range(5):
            await meeting.wait()
            assert await awhere(alias) == tenants[0]

    async def main() -> None:
        meeting = asyncio.Barrier(4)
        names = [*tenants[1:], tenants[1]]
        await asyncio.gather(*(look(name, meeting) for name in names), without(meeting))
        await aclose(alias)

    run(main())
    assert in_use() == 0


def test_a_transaction_in_a_task_is_its_own(alias: str, tenants: list[str]) -> None:
    @sync_to_async
    def empty() -> None:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute("DELETE FROM here")
            transaction.set_rollback(True, using=alias)

    async def main() -> None:
        async with use_database(alias, NAME=tenants[1]):
            await empty()
            assert await awhere(alias) == tenants[1]

    run(main())


def test_a_task_that_outlives_the_block_is_outside(alias: str, tenants: list[str]) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def late() -> Any:
            await ended.wait()
            try:
                return await awhere(alias)
            finally:
                await aclose(alias)

        async with use_database(alias, NAME=tenants[2]):
            async with use_database(alias, NAME=tenants[1]):
                task = asyncio.ensure_future(late())
                await asyncio.sleep(0)
            ended.set()
            assert await task == tenants[0]

    run(main())


def test_a_task_that_uses_another_thread_gets_an_error_and_no_other_database(
    alias: str, tenants: list[str]
) -> None:
    async def main() -> None:
        async with use_database(alias, NAME=tenants[1]):
            with pytest.raises(PoolError, match="not in this thread"):
                await asyncio.to_thread(where, alias)
            with pytest.raises(PoolError, match="not in this thread"):
                await sync_to_async(where, thread_sensitive=False)(alias)

    run(main())


def test_a_task_that_outlives_its_request_gets_no_other_database(
    alias: str, tenants: list[str]
) -> None:
    async def main() -> None:
        inside, over = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            async with use_database(alias, NAME=tenants[1]):
                assert await awhere(alias) == tenants[1]
                inside.set()
                await over.wait()
                with pytest.raises(PoolError, match="not in this thread"):
                    await awhere(alias)

        async with ThreadSensitiveContext():
            task = asyncio.ensure_future(work())
            await inside.wait()
        over.set()
        await task

    run(main())


def test_plain_code_in_an_async_block_can_have_blocks(alias: str, tenants: list[str]) -> None:
    @sync_to_async
    def nested() -> tuple[Any, Any, Any]:
        before = where(alias)
        with use_database(alias, NAME=tenants[2]):
            inside = where(alias)
        return before, inside, where(alias)

    async def main() -> None:
        async with use_database(alias, NAME=tenants[1]):
            assert await nested() == (tenants[1], tenants[2], tenants[1])

    run(main())
    assert in_use() == 0


def test_an_async_block_in_a_transaction_is_refused(alias: str, tenants: list[str]) -> None:
    @sync_to_async
    def begin() -> None:
        transaction.atomic(using=alias).__enter__()

    @sync_to_async
    def end() -> Any:
        found = where(alias)
        transaction.atomic(using=alias).__exit__(None, None, None)
        return found

    async def main() -> None:
        await begin()
        with pytest.raises(TransactionManagementError):
            async with use_database(alias, NAME=tenants[1]):
                pass
        assert await end() == tenants[0]

    run(main())


def test_a_cancelled_task_leaves_its_block(alias: str, tenants: list[str]) -> None:
    async def main() -> None:
        inside = asyncio.Event()

        async def work() -> None:
            async with use_database(alias, NAME=tenants[1]):
                await awhere(alias)
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(work())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await sync_to_async(lambda: type(connections[alias]).__name__)() == "DatabaseWrapper"

    run(main())
    assert in_use() == 0
