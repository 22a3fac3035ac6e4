"""The control socket: who asks, what is answered, and that nobody holds up the supervisor."""

import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from pooldaemon.workers.ipc.control import (
    CLIENT_TIMEOUT,
    MAX_CLIENTS,
    MAX_REQUEST,
    ControlSocket,
    ask,
)
from tests.support.poll import wait_until

DEADLINE = 30.0


@pytest.fixture(params=["short", "d" * 120])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ControlSocket]:
    """One with a path that fits into a socket's address, and one that does not."""
    directory = tmp_path / request.param
    directory.mkdir()
    control = ControlSocket(directory / "sock")
    control.open()
    yield control
    control.release()


def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"heard": request}


def connect(control: ControlSocket) -> socket.socket:
    """A client of any manners; in the kernel's queue it is there before it is accepted."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(DEADLINE)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(control.path.parent)
            client.connect("sock")
    except OSError:
        client.close()
        raise
    return client


def is_ready(control: ControlSocket, seconds: float = 0.0) -> bool:
    """Whether the main loop is woken for it."""
    poll = select.poll()
    for descriptor in control.descriptors():
        poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def test_a_question_gets_one_answer(control: ControlSocket) -> None:
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(ask(control.path, "scale", n=3)))
    asking.start()

    def served() -> bool:
        control.serve(echo, 0.0)
        return bool(answers)

    wait_until(served, DEADLINE, "an answer")
    asking.join()
    assert answers == [{"heard": {"command": "scale", "n": 3}}]


@pytest.mark.parametrize(
    "request_line",
    [
        *(b"no json\n", b"[]\n", b"\xff\n", b"[" * 4000 + b"\n", b'{"command": NaN}\n'),
        *(b"9" * 4090 + b"\n", b'{"a": -Infinity}\n', b"x" * MAX_REQUEST),
        *(b'{"a": []}\n', b'{"command": "scale", "processes": {"a": 1}}\n', b"null\n"),
    ],
)
def test_what_is_no_request_is_answered_with_an_error(
    control: ControlSocket, request_line: bytes
) -> None:
    with closing(connect(control)) as client:
        client.sendall(request_line)
        client.sendall(b"\n")
        control.serve(echo, 0.0)
        assert "error" in json.loads(client.recv(1000))


def test_a_request_may_come_in_pieces(control: ControlSocket) -> None:
    with closing(connect(control)) as client:
        for piece in (b'{"command"', b': "status"}', b"\n"):
            client.sendall(piece)
            control.serve(echo, 0.0)
        assert json.loads(client.recv(1000)) == {"heard": {"command": "status"}}


def test_a_client_that_says_nothing_is_let_go_after_a_while(control: ControlSocket) -> None:
    with closing(connect(control)) as client:
        control.serve(echo, 0.0)
        assert control.clients == 1
        control.serve(echo, CLIENT_TIMEOUT)
        assert control.clients == 0
        assert client.recv(1000) == b""


def test_a_client_that_goes_away_or_talks_too_much_is_let_go(control: ControlSocket) -> None:
    connect(control).close()
    with closing(connect(control)) as client:
        client.sendall(b"x" * MAX_REQUEST)
        control.serve(echo, 0.0)
        client.sendall(b"x")
        control.serve(echo, 0.0)
        assert control.clients == 0


def test_clients_that_do_not_read_hold_up_nobody_and_are_let_go(control: ControlSocket) -> None:
    long = {"text": "x" * 10**6}
    with ExitStack() as stack:
        for _ in range(MAX_CLIENTS):
            stack.enter_context(closing(connect(control))).sendall(b"{}\n")
        began = time.monotonic()
        control.serve(lambda request: long, 0.0)
        assert time.monotonic() - began < 5  # it was half a second for each
        assert control.clients == MAX_CLIENTS
        assert not is_ready(control)
        control.serve(lambda request: long, CLIENT_TIMEOUT)
        assert control.clients == 0


def test_an_answer_of_any_size_arrives(control: ControlSocket) -> None:
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(ask(control.path, "status")))
    asking.start()
    while asking.is_alive():
        if is_ready(control, 0.05):  # only then would the main loop go on
            control.serve(lambda request: {"text": "x" * 10**6}, 0.0)
    assert len(answers[0]["text"]) == 10**6


def test_those_who_wait_in_a_full_queue_do_not_wake_the_main_loop(control: ControlSocket) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_CLIENTS + 1):
            stack.enter_context(closing(connect(control)))
        control.serve(echo, 0.0)
        assert control.clients == MAX_CLIENTS
        assert not is_ready(control)
        control.serve(echo, CLIENT_TIMEOUT)
        assert control.clients == 1


def test_who_asks_without_a_pause_does_not_keep_the_main_loop(control: ControlSocket) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(control))) for _ in range(MAX_CLIENTS + 1)]
        for client in clients:
            client.sendall(b"{}\n")
        answered: list[dict[str, Any]] = []
        control.serve(lambda request: answered.append(request) or {}, 0.0)
        assert len(answered) == MAX_CLIENTS
        assert is_ready(control)
        control.serve(echo, 0.0)
        assert clients[-1].recv(1000)


@pytest.mark.parametrize("answer", [b"", b"[1]\n", b"[" * 10**5 + b"\n", b"{", b"9" * 5000 + b"\n"])
def test_what_is_no_answer_is_an_error(tmp_path: Path, answer: bytes) -> None:
    with socket.create_server(str(tmp_path / "sock"), family=socket.AF_UNIX) as server:
        answering = threading.Thread(target=_answer_once, args=(server, answer))
        answering.start()
        with pytest.raises(OSError, match="disconnected without an answer"):
            ask(tmp_path / "sock", "status")
        answering.join()


def _answer_once(server: socket.socket, answer: bytes) -> None:
    client, _ = server.accept()
    with client:
        client.recv(1000)
        client.sendall(answer)


def test_an_answer_that_comes_a_byte_at_a_time_is_not_waited_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pooldaemon.workers.ipc.control.CLIENT_TIMEOUT", 0.3)
    asked = threading.Event()

    def drip(server: socket.socket) -> None:
        client, _ = server.accept()
        with client, suppress(OSError):
            while not asked.wait(0.05):
                client.sendall(b" ")

    with socket.create_server(str(tmp_path / "sock"), family=socket.AF_UNIX) as server:
        answering = threading.Thread(target=drip, args=(server,))
        answering.start()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            ask(tmp_path / "sock", "status")
        assert 0.3 <= time.monotonic() - began < DEADLINE
        asked.set()
        answering.join()


def test_a_client_connects_again_while_the_queue_is_full(control: ControlSocket) -> None:
    with ExitStack() as stack:
        with suppress(BlockingIOError):
            while True:
                stack.enter_context(closing(connect(control)))
        answers: list[dict[str, Any]] = []
        asking = threading.Thread(target=lambda: answers.append(ask(control.path, "status")))
        asking.start()
        stack.close()  # those in the queue go away

        def served() -> bool:
            control.serve(echo, 0.0)
            return bool(answers)

        wait_until(served, DEADLINE, "an answer")
        asking.join()


def test_a_value_does_not_take_the_place_of_the_command(control: ControlSocket) -> None:
    answers: list[dict[str, Any]] = []
    values = {"command": "stop", "path": "elsewhere"}
    asking = threading.Thread(target=lambda: answers.append(ask(control.path, "status", **values)))
    asking.start()

    def served() -> bool:
        control.serve(echo, 0.0)
        return bool(answers)

    wait_until(served, DEADLINE, "an answer")
    asking.join()
    assert answers == [{"heard": {"path": "elsewhere", "command": "status"}}]


def test_a_socket_that_was_left_is_replaced(control: ControlSocket) -> None:
    control.close_descriptors()
    control.open()
    assert control.path.is_socket()


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ask(tmp_path / "sock", "status")
