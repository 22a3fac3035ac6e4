import json
import os
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from pooldaemon_example.database import database_from_url
from pooldaemon_example.webhooks import claims, sending
from pooldaemon_example.webhooks.claims import Claim
from pooldaemon_example.webhooks.conf import WebhookConfig
from pooldaemon_example.webhooks.delivery import deliver_next
from pooldaemon_example.webhooks.models import Delivery
from pooldaemon_example.webhooks.outcomes import Answer
from tests.example.conftest import MakeDelivery, StartReceiver
from tests.mysql.use import stats
from tests.support.poll import wait_until

Answering = Callable[..., tuple[str, list[bytes]]]

Status = Delivery.Status
# Outside a transaction of the test's: as the daemon delivers.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def answering() -> Iterator[Answering]:
    """An HTTP server that sends these bytes as the whole answer; the requests' heads are kept."""
    servers = []

    def start(raw: bytes, *more: bytes, pause: float = 0) -> tuple[str, list[bytes]]:
        heads: list[bytes] = []

        class Raw(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                heads.append(b"".join(iter(self.rfile.readline, b"\r\n")))
                for part in (raw, *more):
                    self.wfile.write(part)
                    time.sleep(pause)

            def finish(self) -> None:
                with suppress(ConnectionError):
                    super().finish()

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Raw)
        server.handle_error = lambda request, address: None
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/x", heads

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_nothing_pending_is_idle_for_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(1):
        assert deliver_next(None) is False


def test_nothing_due_is_the_time_until_then_for_one_query(
    make_delivery: MakeDelivery, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_delivery(due_at=timezone.now() + timedelta(seconds=20))
    with django_assert_num_queries(1):
        wait = deliver_next(None)
    assert timedelta(seconds=15) < wait <= timedelta(seconds=20)


def test_a_lease_somebody_holds_is_waited_for(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    make_delivery()
    assert claims.claim(config) is not None
    assert timedelta(seconds=25) < deliver_next(None) <= timedelta(seconds=30)


def test_a_due_delivery_is_made_signed_and_recorded(
    make_delivery: MakeDelivery, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver()
    delivery = make_delivery(
        url=f"{receiver.url}/orders", payload={"name": "Bj\u00f6rn \U0001f600"}
    )
    assert deliver_next(None) is True
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == (Status.DELIVERED, 1)
    assert (delivery.response_status, delivery.error) == (200, "")
    assert json.loads(delivery.response_body) == {"delivery": str(delivery.id), "status": 200}
    assert delivery.finished_at is not None
    assert receiver.ledger.accepted == {str(delivery.id): 1}
    assert deliver_next(None) is False


@pytest.mark.mysql
def test_no_connection_is_held_while_the_receiver_is_asked(
    make_delivery: MakeDelivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    def post(claim: Claim, config: WebhookConfig) -> Answer:
        held.append(stats("default").in_use)
        return sending.Answer(200)

    monkeypatch.setattr(sending, "post", post)
    make_delivery()
    connection.close()
    options = database_from_url(os.environ["DATABASE_URL"])["OPTIONS"]
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    assert deliver_next(None) is True
    assert held == [0]
    connection.close()


def test_a_wrong_secret_is_refused_for_good(
    make_delivery: MakeDelivery, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver(secret="another")
    delivery = make_delivery(url=receiver.url)
    assert deliver_next(None) is True
    delivery.refresh_from_db()
    assert (delivery.status, delivery.error) == (Status.DEAD, "HTTP 401: not retried")
    assert receiver.ledger.stats.rejected == 1


def test_failures_are_retried_with_the_attempt_in_a_header_then_parked(
    make_delivery: MakeDelivery, start_receiver: StartReceiver, settings: Settings
) -> None:
    settings.WEBHOOK_RETRY_BASE = settings.WEBHOOK_RETRY_CAP = 0.001
    receiver = start_receiver()
    delivery = make_delivery(url=f"{receiver.url}/status/500")
    results = []
    wait_until(lambda: results.append(deliver_next(None)) or results[-1] is False, 60, "parked")
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == (Status.DEAD, 3)
    assert delivery.error == "HTTP 500: gave up after attempt 3"
    assert results.count(True) == receiver.ledger.stats.requests == 3


def test_a_gone_receiver_is_dead_at_once(
    make_delivery: MakeDelivery, start_receiver: StartReceiver
) -> None:
    delivery = make_delivery(url=f"{start_receiver().url}/status/410")
    deliver_next(None)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == (Status.DEAD, 1)
    assert delivery.response_status == 410


def test_retry_after_in_seconds_delays_the_next_attempt(
    make_delivery: MakeDelivery, answering: Answering
) -> None:
    url, _ = answering(b"HTTP/1.1 429 Slow\r\nRetry-After: 50\r\nContent-Length: 0\r\n\r\n")
    delivery = make_delivery(url=url)
    deliver_next(None)
    delivery.refresh_from_db()
    assert delivery.status == Status.PENDING
    assert timedelta(seconds=45) < delivery.due_at - timezone.now() <= timedelta(seconds=50)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7),
        ("-7", 0),
        ("9" * 400, None),
        ("9" * 5000, None),
        ("soon", None),
        ("Fri, 13 Nov 2026 10:00:30 GMT", 30),
        ("Fri, 13 Nov 2026 10:00:30 -0000", 30),
        ("Fri, 13 Nov 2026 09:00:00 GMT", 0),
        ("Fri, 99 Nov 2026 10:00:30 GMT", None),
    ],
)
def test_both_forms_of_retry_after_are_understood(value: str | None, seconds: float | None) -> None:
    assert sending._retry_after(value, now=1794564000.0) == seconds


def test_an_unreachable_receiver_is_tried_again_with_the_reason_kept(
    make_delivery: MakeDelivery,
) -> None:
    delivery = make_delivery(url="http://127.0.0.1:9/x")
    deliver_next(None)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.response_status) == (Status.PENDING, None)
    assert delivery.error.startswith("NewConnectionError: ")
    assert "refused" in delivery.error


def test_a_silent_receiver_runs_into_the_read_timeout(
    make_delivery: MakeDelivery, start_receiver: StartReceiver, settings: Settings
) -> None:
    settings.WEBHOOK_READ_TIMEOUT = 0.1
    delivery = make_delivery(url=start_receiver(latency=1).url)
    deliver_next(None)
    delivery.refresh_from_db()
    assert delivery.status == Status.PENDING
    assert delivery.error.startswith("ReadTimeoutError: ")


@pytest.mark.parametrize(
    "raw",
    [b"", b"not HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort"],
)
def test_a_broken_answer_is_tried_again(
    make_delivery: MakeDelivery, answering: Answering, raw: bytes
) -> None:
    delivery = make_delivery(url=answering(raw)[0])
    deliver_next(None)
    delivery.refresh_from_db()
    assert delivery.status == Status.PENDING
    assert "Error" in delivery.error


def test_a_redirect_is_not_followed(
    make_delivery: MakeDelivery, answering: Answering, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver()
    location = f"Location: {receiver.url}/".encode()
    url, _ = answering(b"HTTP/1.1 307 Moved\r\n" + location + b"\r\nContent-Length: 0\r\n\r\n")
    delivery = make_delivery(url=url)
    deliver_next(None)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.error) == (Status.PENDING, "HTTP 307")
    assert receiver.ledger.stats.requests == 0


def test_only_the_beginning_of_a_long_answer_is_kept(
    make_delivery: MakeDelivery, answering: Answering
) -> None:
    url, _ = answering(b"HTTP/1.1 200 OK\r\n\r\n", b"ab\xff" + b"x" * 5_000_000)
    delivery = make_delivery(url=url)
    deliver_next(None)
    delivery.refresh_from_db()
    assert delivery.status == Status.DELIVERED
    assert delivery.response_body == "ab\ufffd" + "x" * 997


def test_an_answer_that_trickles_in_is_cut_off(
    make_delivery: MakeDelivery, answering: Answering, settings: Settings
) -> None:
    settings.WEBHOOK_READ_TIMEOUT = 0.3
    url, _ = answering(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x"] * 200, pause=0.05)
    delivery = make_delivery(url=url)
    started = time.monotonic()
    deliver_next(None)
    assert time.monotonic() - started < 200 * 0.05 / 2
    delivery.refresh_from_db()
    assert delivery.status == Status.DELIVERED


def test_the_connection_to_a_receiver_is_kept_from_one_delivery_to_the_next(
    make_delivery: MakeDelivery, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver()
    for _ in range(3):
        make_delivery(url=receiver.url)
        deliver_next(None)
    pool = sending._http(os.getpid()).connection_from_url(receiver.url)
    assert (pool.num_connections, pool.num_requests) == (1, 3)


def test_a_forked_child_has_http_connections_of_its_own() -> None:
    parents = sending._http(os.getpid())
    assert sending._http(os.getpid()) is parents
    assert sending._http(os.getpid() + 1) is not parents
