"""A connect while the network may be away, on a clock of the test's own."""

from typing import Any

import pytest

pytest.importorskip("MySQLdb")

from MySQLdb import OperationalError

from pooldaemon.pool.drivers.mysql.connector import ATTEMPT, Connector

TIMEOUT = 10.0
UNREACHED = OperationalError(2002, "no answer")
NO_GREETING = OperationalError(2013, "at 'reading initial communication packet'")


class Server:
    """:ivar answers_at: on its clock; before, a request gets no answer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answers_at = 0.0
        self.login_takes = 0.0
        self.asked: list[tuple[float, float | None]] = []
        self.refusal: OperationalError | None = None
        self.connector = Connector(self._open, TIMEOUT, lambda: self.now)

    def _open(self, connect_timeout: float | None = None, **_: Any) -> str:
        self.asked.append((self.now, connect_timeout))
        patience = connect_timeout or TIMEOUT
        if self.refusal is not None:
            raise self.refusal
        if self.now < self.answers_at:
            self.now += patience
            raise UNREACHED
        if self.login_takes > patience:
            self.now += patience
            raise NO_GREETING
        return "a session"


@pytest.fixture
def server() -> Server:
    return Server()


def test_usually_a_connect_is_one_attempt_with_the_timeout_of_the_settings(server: Server) -> None:
    assert server.connector.connect() == "a session"
    assert server.asked == [(0.0, None)]


def test_in_doubt_a_connect_comes_through_within_an_attempt(server: Server) -> None:
    server.answers_at, server.connector.doubtful = 5.5, True
    assert server.connector.connect() == "a session"
    assert server.now - server.answers_at < ATTEMPT
    server.connector.connect()
    assert server.asked[-1] == (server.now, None), "the doubt is over"


def test_in_doubt_a_connect_takes_no_longer_than_its_timeout(server: Server) -> None:
    server.answers_at, server.connector.doubtful = 1000.0, True
    with pytest.raises(OperationalError):
        server.connector.connect()
    assert server.now == TIMEOUT
    assert {asked for _, asked in server.asked} == {ATTEMPT}


def test_a_connect_without_an_answer_is_a_doubt(server: Server) -> None:
    server.answers_at = 11.0
    with pytest.raises(OperationalError):
        server.connector.connect()
    server.connector.connect()
    assert [asked for _, asked in server.asked] == [None, ATTEMPT, ATTEMPT]


def test_a_server_that_is_slow_to_log_in_is_not_asked_again_and_again(server: Server) -> None:
    server.login_takes, server.connector.doubtful = 3.0, True
    assert server.connector.connect() == "a session"
    assert server.asked == [(0.0, ATTEMPT), (ATTEMPT, TIMEOUT - ATTEMPT)]
    server.connector.connect()
    assert server.asked[2:] == [(ATTEMPT, None)]


@pytest.mark.parametrize("code", [1045, 2002])
def test_a_refusal_is_raised_at_once(server: Server, code: int) -> None:
    server.connector.doubtful, server.refusal = True, OperationalError(code, "no")
    with pytest.raises(OperationalError):
        server.connector.connect()
    assert len(server.asked) == 1


def test_no_timeout_is_none_in_doubt_either(server: Server) -> None:
    connector = Connector(server._open, 0, lambda: server.now)
    connector.doubtful = True
    connector.connect()
    assert server.asked == [(0.0, None)]
