"""A receiver in the test's own process, and rows to deliver to it."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from pytest_django import Settings

from pooldaemon_example.webhooks import sending
from pooldaemon_example.webhooks.conf import WebhookConfig
from pooldaemon_example.webhooks.models import Delivery
from pooldaemon_example.webhooks.receiver import Behaviour, Receiver

SECRET = "a secret of the tests"

StartReceiver = Callable[..., Receiver]
MakeDelivery = Callable[..., Delivery]


@pytest.fixture(autouse=True)
def webhook_settings(settings: Settings) -> Iterator[None]:
    settings.WEBHOOK_SIGNING_SECRET = SECRET
    settings.WEBHOOK_CONNECT_TIMEOUT = 1
    settings.WEBHOOK_READ_TIMEOUT = 2
    settings.WEBHOOK_LEASE = 30
    settings.WEBHOOK_MAX_ATTEMPTS = 3
    settings.WEBHOOK_RETRY_BASE = 10
    settings.WEBHOOK_RETRY_CAP = 60
    yield
    sending._http(os.getpid()).clear()


@pytest.fixture
def config() -> WebhookConfig:
    return WebhookConfig.from_settings()


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Receiver]:
    with Receiver(("127.0.0.1", 0), behaviour) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def start_receiver() -> Iterator[StartReceiver]:
    """Start a receiver of the test's own: `start_receiver(fail_rate=1)`."""
    with ExitStack() as servers:
        yield lambda secret=SECRET, **how: servers.enter_context(serving(Behaviour(secret, **how)))


@pytest.fixture
def make_delivery() -> MakeDelivery:
    def make(**fields: object) -> Delivery:
        values = {"url": "http://127.0.0.1:9/x", "payload": {"event": "ping"}, **fields}
        return Delivery.objects.create(**values)

    return make
