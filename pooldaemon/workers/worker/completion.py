"""Runs in the child: calls ``perform()``, which may be a coroutine function, to its end."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import async_to_sync

from pooldaemon.workers.worker.context import WorkContext

Outcome = bool | datetime.timedelta
"""Whether there may be more work now, or in how much time there will be."""

GENERATOR = (
    "is a generator function: calling it runs none of its code. Do one unit of work and return "
    "whether there may be more; keep an iterator that is used across units in an attribute"
)


def complete(perform: Callable[[WorkContext], Any]) -> Callable[[WorkContext], Outcome]:
    """*perform*, with its result awaited and evaluated as a part of the unit.

    An awaitable result is awaited in an event loop of its own; synchronous code that it calls by
    ``sync_to_async`` runs in the calling thread. The result is converted to ``bool`` here because
    that may run a query, as with a queryset.

    :raises TypeError: from the returned function: *perform* is a generator function.
    """

    def run(ctx: WorkContext) -> Outcome:
        result = perform(ctx)
        if inspect.isawaitable(result):
            result = async_to_sync(_wait_for)(result)
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise TypeError(f"{result.__qualname__}() {GENERATOR}.")
        return result if isinstance(result, datetime.timedelta) else bool(result)

    return run


async def _wait_for(result: Awaitable[Any]) -> Any:
    return await result
