"""Logging in with a provider's password, without a server: who was asked what, and when."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pooldaemon.pool.drivers.credentials import ACCESS_DENIED, Credentials
from pooldaemon.pool.drivers.provider import PasswordProvider

NAME = "mysql shop@db/shop"


class ServerError(Exception):
    """What the driver raises."""


class FakeServer:
    """Knows the password, and every one that was tried. `before_answer` may block or raise."""

    def __init__(self) -> None:
        self.password = "p1"
        self.tried: list[str] = []
        self.refused: list[str] = []
        self.before_answer: Callable[[], object] = lambda: None
        self._lock = threading.Lock()

    def open_session(self, password: str) -> str:
        with self._lock:
            self.tried.append(str(password))
            good = password == self.password
            if not good:
                self.refused.append(str(password))
        self.before_answer()
        if not good:
            raise ServerError(ACCESS_DENIED, "Access denied for user 'shop'")
        return "a session"


class FakeVault:
    """Returns `answer`, or raises it. `before_answer` may block."""

    def __init__(self, answer: Any = "p1") -> None:
        self.answer = answer
        self.calls = 0
        self.before_answer: Callable[[], object] = lambda: None

    def __call__(self) -> Any:
        self.calls += 1
        answer = self.answer
        self.before_answer()
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Login:
    """A pool's way to a session: server, vault and clock are the test's."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.server = FakeServer()
        self.vault = FakeVault()
        self.credentials = Credentials(PasswordProvider(self.vault), lambda: self.now)

    def __call__(self, timeout: float | None = None) -> Any:
        deadline = None if timeout is None else self.now + timeout
        return self.credentials.log_in(self.server.open_session, NAME, deadline)

    def refusal(self) -> ServerError:
        with pytest.raises(ServerError) as caught:
            self()
        return caught.value
