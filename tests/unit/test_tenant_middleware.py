"""The middleware of docs/tenants.rst: every request has its own tenant's database."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connection, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from pytest_django import Settings

from pooldaemon import pool_stats, use_database
from tests.unit.fakes import Task

HOSTS = ("one.example", "two.example")


def look() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM here")
        return str(cursor.fetchone()[0])


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(look())


@transaction.atomic
def atomic_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(look())


async def async_view(request: HttpRequest) -> HttpResponse:
    answers = {await sync_to_async(look)() for _ in range(3)}
    return HttpResponse(" ".join(answers))


def failing_view(request: HttpRequest) -> HttpResponse:
    raise ValueError(look())


urlpatterns = [
    path("view", view),
    path("atomic", atomic_view),
    path("async", async_view),
    path("failing", failing_view),
]


@pytest.fixture(autouse=True)
def project(
    alias: str,
    tenants: list[str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database of the tests' own is the default one, for threads that are new."""
    monkeypatch.setitem(connections.settings, "default", connections.settings[alias])
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["*"]
    settings.USE_X_FORWARDED_HOST = True  # the async client has a host of its own
    settings.MIDDLEWARE = ["tests.unit.tenant_middleware.tenant_middleware"]
    settings.TENANTS = dict(zip(HOSTS, [{"NAME": name} for name in tenants[1:]], strict=True))


def in_use() -> int:
    return sum(stats.in_use for stats in pool_stats())


@pytest.mark.parametrize("url", ["/view", "/atomic", "/async"])
def test_consecutive_requests_of_a_thread_see_each_its_tenant(
    url: str,
    tenants: list[str],
) -> None:
    def visit() -> list[str]:
        client = Client()
        return [client.get(url, headers={"x-forwarded-host": host}).text for host in HOSTS * 2]

    assert Task(visit).result() == tenants[1:] * 2
    assert in_use() == 0


@pytest.mark.parametrize("url", ["/view", "/atomic", "/async"])
def test_async_requests_at_the_same_time_see_each_its_tenant(
    url: str,
    tenants: list[str],
) -> None:
    async def ask(host: str) -> Any:
        return (await AsyncClient().get(url, headers={"x-forwarded-host": host})).text

    async def visit() -> list[Any]:
        async with ThreadSensitiveContext():  # one thread for all, where the server has many
            return await asyncio.gather(*(ask(host) for host in HOSTS * 4))

    assert Task(lambda: asyncio.run(visit())).result() == tenants[1:] * 4
    assert in_use() == 0


def test_a_view_that_fails_leaves_its_tenant() -> None:
    def visit() -> Any:
        with pytest.raises(ValueError, match="t1"):
            Client().get("/failing", headers={"x-forwarded-host": HOSTS[0]})
        return connections["default"].settings_dict

    assert Task(visit).result() is connections.settings["default"]
    assert in_use() == 0


def test_a_host_without_a_tenant_is_not_found() -> None:
    response = Task(
        lambda: Client().get("/view", headers={"x-forwarded-host": "nowhere.example"})
    ).result()
    assert response.status_code == 404


def test_a_block_of_a_view_is_nested_in_the_requests(
    tenants: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nested(request: HttpRequest) -> HttpResponse:
        with use_database("default", NAME=tenants[0]):
            inside = look()
        return HttpResponse(f"{inside} {look()}")

    monkeypatch.setattr(urlpatterns[0], "callback", nested)
    response = Task(lambda: Client().get("/view", headers={"x-forwarded-host": HOSTS[0]})).result()
    assert response.text == f"{tenants[0]} {tenants[1]}"
