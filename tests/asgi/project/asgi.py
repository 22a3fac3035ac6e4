"""As docs/async.rst says it: the executor returns the connections that its threads borrowed."""

import asyncio
from typing import Any

from django.core.asgi import get_asgi_application

from pooldaemon import PooledThreadPoolExecutor
from pooldaemon.pool.drivers.mysql import dialect

dialect.SERVER_FULL = frozenset()  # a session above the limit is an error here, not a retry

django_application = get_asgi_application()
executor = PooledThreadPoolExecutor(32)


async def application(scope: Any, receive: Any, send: Any) -> None:
    asyncio.get_running_loop().set_default_executor(executor)
    await django_application(scope, receive, send)
