"""Who asks a daemon's exporter: however slow, for no longer than that, and no more at a time."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from pooldaemon.metrics import endpoint
from pooldaemon.metrics.endpoint import Server
from tests.support.poll import wait_until

DEADLINE = 30.0
REQUEST = b"GET /metrics HTTP/1.0\r\n\r\n"


def answer(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"x" * int(environ["QUERY_STRING"] or 2)]


class Exporter:
    """Runs in a thread; ended by its parent_death_pipe."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.server = Server(listener)
        self.server.set_app(answer)
        self._parent_death_pipe = os.pipe()
        self._thread = threading.Thread(target=self.server.run, args=(self._parent_death_pipe[0],))
        self._thread.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=DEADLINE)

    def ask(self) -> bytes:
        with self.connect() as client:
            client.sendall(REQUEST)
            return read(client)

    def end(self) -> None:
        os.close(self._parent_death_pipe[1])
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        os.close(self._parent_death_pipe[0])
        self.server.socket.close()


def read(client: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionResetError):
        while part := client.recv(2**16):
            found += part
    return found


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exporter]:
    monkeypatch.setattr(endpoint, "MAX_CLIENTS", 3)
    exporter = Exporter()
    yield exporter
    exporter.end()


def test_no_more_are_answered_at_a_time_and_the_next_one_waits(exporter: Exporter) -> None:
    before = threading.active_count()
    with ExitStack() as silent:
        clients = [silent.enter_context(exporter.connect()) for _ in range(6)]
        wait_until(lambda: threading.active_count() == before + 3, DEADLINE, "not three threads")
        waiting = silent.enter_context(exporter.connect())
        waiting.sendall(REQUEST)
        waiting.settimeout(0.2)
        with pytest.raises(TimeoutError):
            waiting.recv(100)
        assert threading.active_count() == before + 3
        for client in clients:
            client.close()
        waiting.settimeout(DEADLINE)
        assert read(waiting).endswith(b"\r\n\r\nxx")
    wait_until(lambda: threading.active_count() == before, DEADLINE, "threads are left")


@pytest.mark.parametrize("sends", [b"", b"G", b"GET /metrics?50000000 HTTP/1.0\r\n\r\n"])
def test_there_is_one_deadline_however_busy_a_client_is(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, sends: bytes
) -> None:
    monkeypatch.setattr(endpoint, "CLIENT_TIMEOUT", 0.3)
    with ExitStack() as slow:
        clients = [slow.enter_context(exporter.connect()) for _ in range(3)]
        began = time.monotonic()
        gone = 0
        while not gone:
            assert time.monotonic() - began < DEADLINE
            for client in clients:
                try:
                    client.sendall(sends[:1] or b"")  # a byte at a time, for ever
                    if sends[1:]:
                        client.sendall(sends[1:])  # and one that does not read
                        sends = b""
                except OSError:
                    gone += 1
            if not sends:
                gone = not exporter.server._clients and time.monotonic() - began > 0.3
            time.sleep(0.02)
        monkeypatch.setattr(endpoint, "CLIENT_TIMEOUT", DEADLINE)
        assert exporter.ask().endswith(b"xx")


def test_where_no_thread_can_be_started_it_tries_again(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(endpoint, "PAUSE", 0.05)
    refused = threading.Event()

    def refuse(thread: threading.Thread) -> None:
        refused.set()
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with exporter.connect() as client:
            assert read(client) == b""
    assert refused.is_set()
    assert exporter.ask().endswith(b"xx")
    assert "try again: can't start new thread" in caplog.text
    wait_until(lambda: not exporter.server._clients, DEADLINE, "somebody is left")


def test_what_is_no_request_is_answered_or_dropped_and_the_next_one_served(
    exporter: Exporter,
) -> None:
    for nonsense in (
        b"\0\n\n",
        b"GET\n\n",
        b"x" * 70_000 + b"\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\n",
    ):
        with exporter.connect() as client, suppress(OSError):
            client.sendall(nonsense)
            client.shutdown(socket.SHUT_WR)
            read(client)
    assert exporter.ask().endswith(b"xx")
