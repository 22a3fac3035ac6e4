"""Runs in the child: a unit's call is brought to its end, whatever kind of function it is."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import async_to_sync

from pooldaemon.workers.worker.context import WorkContext

Outcome = bool | datetime.timedelta
"""Whether there may be more to do, or when there will be."""

GENERATOR = (
    "is a generator function, whose call runs nothing. Let it do one unit and return whether there "
    "may be more; an iterator that goes on from unit to unit belongs into an attribute"
)


def complete(perform: Callable[[WorkContext], Any]) -> Callable[[WorkContext], Outcome]:
    """*perform*, with its result judged while the unit is still under way.

    What can be awaited is awaited, in an event loop of its own; Django's ORM runs in the calling
    thread meanwhile. Whether the result is true is asked here, since that may be a query.

    :raises TypeError: it returned a generator, of which nothing has run.
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
