"""Web processes publish their pools."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.utils.decorators import sync_and_async_middleware

from pooldaemon.conf import read_publish_interval
from pooldaemon.dashboard.publishing import publish, this_process

logger = logging.getLogger("pooldaemon.dashboard")

_threads: dict[int, threading.Thread] = {}
"""The publishing thread, by pid: a forked child has its parent's entry, but not its thread."""


@sync_and_async_middleware
def publish_pools(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Publish the pools of web processes for the admin's page "Pools and daemons".

    The first request in a process starts a thread that writes them to the database every
    ``POOLDAEMON["PUBLISH_INTERVAL"]`` seconds, 5 by default. For WSGI and ASGI. Fork-safe: a forked
    process starts its own thread with its first request.
    """
    if not iscoroutinefunction(get_response):

        def middleware(request: HttpRequest) -> Any:
            _start()
            return get_response(request)

        return middleware

    async def async_middleware(request: HttpRequest) -> Any:
        _start()
        return await get_response(request)

    return async_middleware


def _start() -> None:
    pid = os.getpid()
    if pid in _threads:
        return
    thread = threading.Thread(target=_publish, name="pooldaemon-publisher", daemon=True)
    # Atomic, so that one of two first requests wins, and without a lock that a fork could leave
    # held.
    if _threads.setdefault(pid, thread) is thread:
        try:
            thread.start()
        except RuntimeError:  # there can be no more threads; the request is worth more than this
            logger.warning("Statistics of this process are not published yet", exc_info=True)
            del _threads[pid]  # the next request tries again


def _publish() -> None:
    interval = read_publish_interval()
    while True:
        publish("web", this_process())
        time.sleep(interval)
