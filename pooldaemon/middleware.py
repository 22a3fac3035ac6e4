"""Middleware for ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from pooldaemon.pool.queue.cancellation import cancellable


@sync_and_async_middleware
def cancel_waits(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """When its client goes away, let a request under ASGI wait no longer for a connection.

    A wait that has begun ends with ``PoolWaitCancelled``; what already runs goes on to its end.
    Under WSGI, where nobody hears of the client's end, it does nothing.
    """
    if not iscoroutinefunction(get_response):
        return get_response

    async def middleware(request: HttpRequest) -> Any:
        with cancellable() as waits:
            response = asyncio.ensure_future(get_response(request))
            try:
                # Shielded, to hear of it before those who wait for a thread that waits.
                return await asyncio.shield(response)
            except asyncio.CancelledError:
                waits.cancel()
                response.cancel()
                return await response

    return middleware
