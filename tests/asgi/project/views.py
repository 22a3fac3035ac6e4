"""Each view asks the server for 7, in its own way, which takes a moment."""

import asyncio
import threading
from collections.abc import AsyncIterator

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from pooldaemon import auto_close_db, pool_stats
from tests.asgi.project.models import Row

background: list[int] = []
"""What units that outlived their requests were answered."""

_tasks: set[asyncio.Task[None]] = set()


def ask(sql: str = "SELECT 7 + SLEEP(0.01)") -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        answer: int = cursor.fetchone()[0]
    return answer


def reply(answer: int) -> HttpResponse:
    return HttpResponse(str(answer))


def sync(request: HttpRequest) -> HttpResponse:
    return reply(ask())


async def orm(request: HttpRequest) -> HttpResponse:
    return reply(7 + await Row.objects.acount())


async def sensitive(request: HttpRequest) -> HttpResponse:
    return reply(await sync_to_async(ask)())


async def insensitive(request: HttpRequest) -> HttpResponse:
    return reply(await sync_to_async(ask, thread_sensitive=False)())


async def to_thread(request: HttpRequest) -> HttpResponse:
    return reply(await asyncio.to_thread(ask))


async def one_after_the_other(request: HttpRequest) -> HttpResponse:
    async with auto_close_db():
        first = await sync_to_async(ask)()
    # Still holding a connection, it would wait here for a second one.
    return reply(first * await asyncio.to_thread(ask) // 7)


async def streaming(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        async with auto_close_db():
            answer = await sync_to_async(ask)()
        yield str(answer)

    return StreamingHttpResponse(parts())


def work() -> None:
    background.append(ask())


async def background_thread(request: HttpRequest) -> HttpResponse:
    threading.Thread(target=auto_close_db(work)).start()
    return reply(7)


async def background_task(request: HttpRequest) -> HttpResponse:
    task = asyncio.create_task(auto_close_db(sync_to_async(work))())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return reply(7)


def wait_for_lock(request: HttpRequest) -> HttpResponse:
    return reply(ask("SELECT GET_LOCK(DATABASE(), 20) + RELEASE_LOCK(DATABASE()) + 5"))


async def stats(request: HttpRequest) -> JsonResponse:
    (pool,) = pool_stats()
    return JsonResponse(
        {
            "in_use": pool.in_use,
            "waiting": pool.waiting,
            "peak": pool.peak,
            "timeouts": pool.timeouts,
            "connect_errors": pool.connect_errors,
            "borrowed": pool.use.count,
            "waited": pool.wait.total,
            "background": background,
        }
    )


VIEWS = [
    sync,
    orm,
    sensitive,
    insensitive,
    to_thread,
    one_after_the_other,
    streaming,
    background_thread,
    background_task,
]

urlpatterns = [path(view.__name__, view) for view in [*VIEWS, wait_for_lock, stats]]
