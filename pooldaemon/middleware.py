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
    """Under ASGI, cancel a request's wait for a connection when its client disconnects.

    The wait ends with ``PoolWaitCancelled``. Synchronous code that already runs is not interrupted.
    Under WSGI it does nothing, since there a disconnect is not reported.
    """
    if not iscoroutinefunction(get_response):
        return get_response

    async def middleware(request: HttpRequest) -> Any:
        with cancellable() as waits:
            response = asyncio.ensure_future(get_response(request))
            try:
                # Shielded, so that waits are cancelled before the view, which may wait for a thread
                # that waits for a connection.
                return await asyncio.shield(response)
            except asyncio.CancelledError:
                waits.cancel()
                response.cancel()
                return await response

    return middleware
