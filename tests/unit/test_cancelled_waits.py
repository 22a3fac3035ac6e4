"""A wait for a connection ends when its work is cancelled, and the queue goes on."""

import asyncio
import threading
from contextvars import copy_context
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse

from pooldaemon.exceptions import PoolWaitCancelled
from pooldaemon.middleware import cancel_waits
from pooldaemon.pool.queue.cancellation import Cancellation, cancellable
from tests.unit.fakes import DEADLINE, Pool, Task, give_back


def borrow_in(pool: Pool) -> tuple[Cancellation, Task]:
    """A thread that borrows, and what cancels its wait."""
    with cancellable() as waits:
        context = copy_context()
    return waits, Task(context.run, pool.borrow)


def test_a_cancelled_wait_ends_and_those_behind_it_keep_their_order() -> None:
    pool = Pool(pool_size=1)
    first = pool.borrow()
    waits, cancelled = borrow_in(pool)
    pool.wait_for_waiters(1)
    behind = Task(pool.borrow)
    pool.wait_for_waiters(2)
    waits.cancel()
    with pytest.raises(PoolWaitCancelled, match="fake app@host/db"):
        cancelled.result()
    assert (pool.stats().waiting, pool.stats().timeouts) == (1, 0)
    give_back(first)
    give_back(behind.result())
    assert pool.stats().in_use == 0


def test_work_that_was_cancelled_borrows_what_is_free_and_waits_for_nothing() -> None:
    pool = Pool(pool_size=1)
    with cancellable() as waits:
        waits.cancel()
        context = copy_context()
    connection = context.run(pool.borrow)
    with pytest.raises(PoolWaitCancelled):
        Task(context.run, pool.borrow).result()
    give_back(connection)


def test_a_wait_is_cancelled_or_served_but_no_place_gets_lost() -> None:
    pool = Pool(pool_size=1)
    outcomes = set()
    for _ in range(200):
        first = pool.borrow()
        waits, waiter = borrow_in(pool)
        pool.wait_for_waiters(1)
        start = threading.Barrier(2)
        canceller = Task(lambda start, waits: (start.wait(DEADLINE), waits.cancel()), start, waits)
        start.wait(DEADLINE)
        give_back(first)
        canceller.result()
        try:
            give_back(waiter.result())
            outcomes.add("served")
        except PoolWaitCancelled:
            outcomes.add("cancelled")
        assert (pool.stats().in_use, pool.stats().waiting) == (0, 0)
    assert "served" in outcomes


def test_the_middleware_cancels_the_waits_of_a_cancelled_request() -> None:
    pool = Pool(pool_size=1)
    first = pool.borrow()

    async def view(request: HttpRequest) -> HttpResponse:
        give_back(await asyncio.to_thread(pool.borrow))
        return HttpResponse()

    async def main() -> Any:
        request = asyncio.ensure_future(cancel_waits(view)(HttpRequest()))
        await asyncio.to_thread(pool.wait_for_waiters, 1)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await asyncio.to_thread(pool.wait_for_waiters, 0)
        give_back(first)
        return await cancel_waits(view)(HttpRequest())

    assert asyncio.run(main()).status_code == 200


def test_the_middleware_leaves_requests_under_wsgi_alone() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        raise AssertionError("it was called")

    assert cancel_waits(view) is view
