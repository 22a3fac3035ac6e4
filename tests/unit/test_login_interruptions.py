"""An exception at any line of a login with a provider's password keeps no other login waiting.

See tests/unit/test_interruptions.py.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from pooldaemon.exceptions import PasswordProviderError
from pooldaemon.pool.drivers import credentials
from pooldaemon.pool.drivers.credentials import FIRST_LOGIN
from pooldaemon.pool.tokens import clears_frames
from tests.support.poll import wait_until
from tests.unit.fakes import DEADLINE, Task
from tests.unit.interruptions import Actor, interrupt
from tests.unit.logins import Login, ServerError


class LoggingIn:
    """What is done, and what must hold afterwards."""

    def __init__(self) -> None:
        self.login = Login()
        self.helpers: list[Task] = []
        self.prepare()

    def prepare(self) -> None:
        """Before it."""

    def act(self) -> None:
        self.login()

    def go_on(self) -> None:
        """After it, before the check."""

    def check(self) -> None:
        self.go_on()
        for helper in self.helpers:
            helper.result()
        found = self.login.credentials
        wait_until(lambda: not any(c.is_running for c in found._calls), DEADLINE, "a call")
        self.login.now += 1000
        began = time.monotonic()
        assert self.login() == "a session"
        took = time.monotonic() - began
        assert took < FIRST_LOGIN * 0.9, f"it has waited for {took:.2f} s"
        assert found._lock.take() is not None
        assert not found._are_under_way()


class LogInKept(LoggingIn):
    def prepare(self) -> None:
        self.login.vault.answer = ("p1", 900)
        self.login()


class LogInRotated(LogInKept):
    def prepare(self) -> None:
        super().prepare()
        self.login.server.password, self.login.vault.answer = "p2", ("p2", 900)


class LogInRefused(LoggingIn):
    def prepare(self) -> None:
        self.login.server.password = "p2"

    def act(self) -> None:
        with suppress(ServerError):
            self.login()

    def go_on(self) -> None:
        self.login.server.password = "p1"


class LogInWithoutAnswer(LoggingIn):
    def prepare(self) -> None:
        self.login.vault.answer = ConnectionError("the vault is sealed")

    def act(self) -> None:
        with suppress(PasswordProviderError):
            self.login()

    def go_on(self) -> None:
        self.login.vault.answer = "p1"


class LogInWhereNoThreadStarts(LoggingIn):
    """The provider is asked by the borrower itself."""

    def act(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(credentials.threading, "Thread", _NoThread)
            self.login()


class LogInAfterAnother(LoggingIn):
    """It waits until that has succeeded."""

    def prepare(self) -> None:
        self.gate = threading.Event()
        self.login.server.before_answer = lambda: self.gate.wait(0.02)
        self.helpers = [Task(self.login)]
        wait_until(lambda: self.login.server.tried, DEADLINE, "nobody logs in")

    def go_on(self) -> None:
        self.gate.set()


class _NoThread:
    def __init__(self, **kwargs: Any) -> None:
        pass

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


LOGINS = [LoggingIn, *LoggingIn.__subclasses__(), LogInRotated]


@pytest.mark.parametrize("make", LOGINS, ids=lambda one: one.__name__)
def test_an_exception_at_any_line_of_a_login_keeps_no_other_waiting(
    make: Callable[[], LoggingIn],
) -> None:
    wrong = []
    for number in count():
        trial = make()
        actor = Actor(clears_frames(trial.act), number, interrupt)
        actor.wait()
        place = actor.interruption.place
        try:
            trial.check()
        except BaseException as error:  # noqa: BLE001 - all of them are reported
            wrong.append(f"{place}: {type(error).__name__} {error}"[:300])
        actor.end()
        if place is None:
            break
    assert number > 3
    assert not wrong, f"{len(wrong)} of {number}:\n" + "\n".join(wrong)
