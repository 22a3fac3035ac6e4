"""Web processes publish their pools."""

from __future__ import annotations

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

_threads: dict[int, threading.Thread] = {}
"""By process: a forked child does not inherit its parent's."""


@sync_and_async_middleware
def publish_pools(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Let the admin's page "Pools and daemons" show the pools of this process.

    From its first request on, a thread writes them to the database, every
    ``POOLDAEMON["PUBLISH_INTERVAL"]`` seconds. For WSGI and ASGI; safe under servers that fork.
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
    thread = threading.Thread(target=_tell, name="pooldaemon-publisher", daemon=True)
    # One step, and no lock that a fork could leave closed: of two first requests one wins.
    if _threads.setdefault(pid, thread) is thread:
        thread.start()


def _tell() -> None:
    interval = read_publish_interval()
    while True:
        publish("web", this_process())
        time.sleep(interval)
