"""The control socket: who asks, what is answered, and that nobody holds up the supervisor."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pooldaemon.workers.control import CLIENT_TIMEOUT, LONGEST_REQUEST, ControlSocket, ask
from tests.support.poll import wait_until

DEADLINE = 5.0


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
    directory = control.path.parent
    client.settimeout(DEADLINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        client.connect("sock")
    return client


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


@pytest.mark.parametrize("request_line", [b"no json\n", b"[]\n", b"\xff\n"])
def test_what_is_no_request_is_answered_with_an_error(
    control: ControlSocket, request_line: bytes
) -> None:
    with closing(connect(control)) as client:
        client.sendall(request_line)
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
        assert len(control.descriptors()) == 2
        control.serve(echo, CLIENT_TIMEOUT)
        assert len(control.descriptors()) == 1
        assert client.recv(1000) == b""


def test_a_client_that_goes_away_or_talks_too_much_is_let_go(control: ControlSocket) -> None:
    connect(control).close()
    with closing(connect(control)) as client:
        client.sendall(b"x" * LONGEST_REQUEST)
        control.serve(echo, 0.0)
        client.sendall(b"x")
        control.serve(echo, 0.0)
        assert len(control.descriptors()) == 1


def test_a_socket_that_was_left_is_replaced(control: ControlSocket) -> None:
    control.close_descriptors()
    control.open()
    assert control.path.is_socket()


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ask(tmp_path / "sock", "status")
