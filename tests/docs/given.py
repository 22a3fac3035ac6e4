"""What the functions in the documentation are called with, by the name of the parameter."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.test import RequestFactory
from shop.models import Invoice, Order, Reminder, Transfer

from pooldaemon.workers.worker.context import WorkContext

_received = [{"type": "http.request", "body": b"", "more_body": False}]


async def receive() -> dict[str, Any]:
    if not _received:
        await asyncio.Event().wait()  # the client stays
    return _received.pop()


async def send(message: dict[str, Any]) -> None:
    assert message.get("status", 200) == 200


def arguments() -> dict[str, Any]:
    """Made anew for each block, and so are the rows that its code is to find."""
    Invoice.objects.create()
    Reminder.objects.create(phone="555-0100", text="Your order is ready")
    order = Order.objects.create()
    Transfer.objects.create()
    database = settings.DATABASES["default"]
    return {
        "client": SimpleNamespace(post=lambda _path, _payload: "answer"),
        "ctx": WorkContext("worker-1/thread-1", threading.Event()),
        "death": SimpleNamespace(signal=None),
        "order": order,
        "path": "/",
        "pk": order.pk,
        "product_id": 1,
        "receive": receive,
        "request": RequestFactory().get("/"),
        "scope": {"type": "http", "method": "GET", "path": "/", "headers": []},
        "seconds": 0.01,
        "send": send,
        "sender": None,
        "server": SimpleNamespace(),
        "tenant": SimpleNamespace(
            name=database["NAME"],
            user=database.get("USER", ""),
            password=database.get("PASSWORD", ""),
            database={"NAME": database["NAME"]},
        ),
        "worker": SimpleNamespace(name="worker-1", pid=1),
    }
