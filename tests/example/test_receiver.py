import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3
from django.core.management import call_command
from django.core.management.base import CommandError

from pooldaemon_example.webhooks.receiver import Behaviour, Receiver
from pooldaemon_example.webhooks.signing import signature
from tests.example.conftest import SECRET, StartReceiver
from tests.support.promise import assert_within

RunReceiver = Callable[..., tuple[subprocess.Popen[str], str]]

MANAGE = Path(__file__).parents[2] / "manage.py"


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(maxsize=64) as manager:
        yield manager


def send(
    http: urllib3.PoolManager,
    url: str,
    delivery_id: str = "1",
    body: bytes = b"{}",
    secret: str = SECRET,
    attempt: str = "1",
) -> urllib3.BaseHTTPResponse:
    headers = {
        "Webhook-Id": delivery_id,
        "Webhook-Attempt": attempt,
        "Webhook-Signature": signature(secret, int(time.time()), body),
    }
    return http.request("POST", url, body=body, headers=headers, retries=False)


def stats(http: urllib3.PoolManager, receiver: Receiver) -> dict[str, int]:
    return http.request("GET", f"{receiver.url}/stats").json()


def test_deliveries_are_counted_by_id(
    http: urllib3.PoolManager, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver()
    assert [send(http, receiver.url, key).status for key in ("1", "2", "1")] == [200, 200, 200]
    assert stats(http, receiver) == {
        "requests": 3,
        "accepted": 2,
        "duplicates": 1,
        "failed": 0,
        "rejected": 0,
    }
    deliveries = http.request("GET", f"{receiver.url}/deliveries")
    assert deliveries.json() == {"1": 2, "2": 1}


def test_a_wrong_signature_gets_401_and_counts_as_rejected_only(
    http: urllib3.PoolManager, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver()
    assert send(http, receiver.url, secret="wrong").status == 401
    assert send(http, f"{receiver.url}/status/200", secret="wrong").status == 401
    assert stats(http, receiver)["rejected"] == 2
    assert stats(http, receiver)["failed"] == 0


@pytest.mark.parametrize("status", [200, 204, 304, 401, 410, 429, 500, 599])
def test_a_status_path_answers_that_status_always(
    http: urllib3.PoolManager, start_receiver: StartReceiver, status: int
) -> None:
    receiver = start_receiver(fail_rate=1)
    for _ in range(2):
        assert send(http, f"{receiver.url}/status/{status}").status == status
    counted = stats(http, receiver)
    assert counted["accepted"] == (200 <= status < 300)
    assert counted["failed"] == 2 * (status >= 300)


@pytest.mark.parametrize("path", ["100", "600", "abc", "", "2000", "²00"])
def test_a_status_that_is_none_is_404(
    http: urllib3.PoolManager, start_receiver: StartReceiver, path: str
) -> None:
    assert send(http, f"{start_receiver().url}/status/{path}").status == 404


def test_429_says_when_to_come_back(
    http: urllib3.PoolManager, start_receiver: StartReceiver
) -> None:
    answer = send(http, f"{start_receiver().url}/status/429")
    assert answer.headers["Retry-After"] == "1"


def test_a_fail_rate_of_1_fails_all_and_of_0_none(
    http: urllib3.PoolManager, start_receiver: StartReceiver
) -> None:
    assert send(http, start_receiver(fail_rate=1).url).status == 503
    assert send(http, start_receiver(fail_rate=0).url).status == 200


def test_one_seed_fails_the_same_attempts_and_another_others() -> None:
    def failures(seed: str) -> list[int]:
        behaviour = Behaviour(SECRET, fail_rate=0.3, seed=seed)
        return [number for number in range(1000) if behaviour.fails(str(number), "1")]

    assert failures("a") == failures("a")
    assert failures("a") != failures("b")
    assert 220 < len(failures("a")) < 380


def test_latency_delays_the_answer(
    http: urllib3.PoolManager, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver(latency=0.2)
    started = time.monotonic()
    send(http, receiver.url)
    assert time.monotonic() - started >= 0.2


def test_many_connections_are_served_at_once(
    http: urllib3.PoolManager, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver(latency=0.2)
    started = time.monotonic()
    with ThreadPoolExecutor(48) as threads:
        answers = threads.map(lambda key: send(http, receiver.url, str(key)).status, range(96))
        assert set(answers) == {200}
    # Two rounds of 48, not one after the other.
    assert time.monotonic() - started < 96 * 0.2 / 2
    assert http.connection_from_url(receiver.url).num_connections <= 48
    assert stats(http, receiver)["accepted"] == 96


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements(
    http: urllib3.PoolManager, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver()

    def sent_in(*, anew: bool = False) -> float:
        started = time.monotonic()
        for number in range(50):
            if anew:
                http.clear()
            assert send(http, receiver.url, str(number)).status == 200
        assert http.connection_from_url(receiver.url).num_connections == 1
        return time.monotonic() - started

    # Each would wait 40 ms, beside one on a connection of its own.
    assert_within(50 * 0.04 / 2, lambda: sent_in() - sent_in(anew=True))


def test_a_request_without_a_usable_length_is_refused(start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    for header, status in (
        (b"", b"411"),
        (b"Content-Length: -1", b"411"),
        (b"Content-Length: 99999999", b"413"),
    ):
        with socket.create_connection(receiver.server_address[:2]) as client:
            client.sendall(
                b"POST / HTTP/1.1\r\nHost: h\r\n" + header + b"\r\n\r\n"[: 4 if header else 2]
            )
            with client.makefile("rb") as answer:
                assert answer.read().split(b" ", 2)[1] == status


def test_another_page_is_404(http: urllib3.PoolManager, start_receiver: StartReceiver) -> None:
    assert http.request("GET", start_receiver().url).status == 404


@pytest.fixture
def run_receiver() -> Iterator[RunReceiver]:
    """Start the command; its process and the URL it printed."""
    processes = []

    def start(*options: str) -> tuple[subprocess.Popen, str]:
        process = subprocess.Popen(
            [sys.executable, MANAGE, "webhook_receiver", "--port=0", *options],
            env={**os.environ, "WEBHOOK_SIGNING_SECRET": SECRET},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process, process.stdout.readline().removeprefix("listening on ").strip()

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_its_url_serves_and_stops_on_a_signal(
    http: urllib3.PoolManager, run_receiver: RunReceiver, signum: signal.Signals
) -> None:
    process, url = run_receiver("--seed=x", "--latency=0")
    assert send(http, url).status == 200
    assert json.loads(http.request("GET", f"{url}/stats").data)["accepted"] == 1
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_command_stops_with_its_standard_input_if_asked_to(run_receiver: RunReceiver) -> None:
    process, _ = run_receiver("--until-eof")
    process.stdin.close()
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--fail-rate=1.5", "--fail-rate: '1.5' is not a number from 0 to 1"),
        ("--fail-rate=nan", "--fail-rate: 'nan' is not a number from 0 to 1"),
        ("--latency=-1", "--latency: '-1' is not a number of seconds, 0 or more"),
        ("--latency=inf", "--latency: 'inf' is not a number of seconds, 0 or more"),
        (
            "--port=65536",
            r"--port: '65536' is not a whole number from 0 \(any free port\) to 65535",
        ),
        ("--port=http", "--port: 'http' is not a whole number"),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_range(option: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("webhook_receiver", option)


def test_a_port_in_use_is_named(start_receiver: StartReceiver) -> None:
    port = start_receiver().server_address[1]
    with pytest.raises(CommandError, match=f"cannot listen on 127.0.0.1:{port}: Address already"):
        call_command("webhook_receiver", f"--port={port}")
