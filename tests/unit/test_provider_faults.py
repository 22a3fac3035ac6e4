"""A password provider that raises, hangs, or returns what is no password."""

import threading
from collections.abc import Iterator

import pytest
from django.db import OperationalError

from pooldaemon.exceptions import PasswordProviderError, PoolError
from pooldaemon.pool.drivers import credentials
from tests.support.poll import wait_until
from tests.unit.fakes import DEADLINE
from tests.unit.logins import NAME, FakeVault, Login


@pytest.fixture
def login() -> Login:
    return Login()


def fault(login: Login, timeout: float | None = None) -> PasswordProviderError:
    with pytest.raises(PasswordProviderError) as caught:
        login(timeout)
    return caught.value


def test_what_a_provider_raises_is_a_database_error_that_names_it(login: Login) -> None:
    login.vault.answer = ConnectionError("the vault is sealed")
    error = fault(login)
    assert isinstance(error, (PoolError, OperationalError))
    assert str(error) == (
        f"pool {NAME}: the password provider {FakeVault.__module__}.FakeVault "
        "raised ConnectionError: the vault is sealed"
    )
    assert error.__cause__ is login.vault.answer
    assert login.server.tried == []


@pytest.mark.parametrize("answer", [SystemExit(1), KeyboardInterrupt(), TimeoutError("slow")])
def test_whatever_it_raises_ends_no_thread_of_the_users(
    login: Login, answer: BaseException
) -> None:
    login.vault.answer = answer
    assert type(answer).__name__ in str(fault(login))


def test_the_message_names_only_the_type_of_what_it_returns(login: Login) -> None:
    login.vault.answer = b"s3cret"
    assert "returned a bytes; it must return a password" in str(fault(login))
    assert "s3cret" not in str(fault(login))


def test_after_a_failure_the_provider_is_asked_again_at_once(login: Login) -> None:
    login.vault.answer = None
    fault(login)
    login.vault.answer = "p1"
    assert login() == "a session"


class Hanging(Login):
    """Its provider hangs until the test ends."""

    def __init__(self) -> None:
        super().__init__()
        self.end = threading.Event()
        self.vault.before_answer = lambda: self.end.wait(DEADLINE)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    monkeypatch.setattr(credentials, "LEAST_PATIENCE", 0.02)
    monkeypatch.setattr(credentials, "FIRST_LOGIN", 0.02)
    login = Hanging()
    yield login
    login.end.set()
    wait_until(lambda: not asking(), DEADLINE, "a thread stays behind")


def asking() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.endswith("FakeVault")]


def test_a_provider_that_hangs_is_waited_for_as_long_as_the_borrower_would(
    hanging: Hanging,
) -> None:
    error = str(fault(hanging, timeout=0.2))
    assert "FakeVault has not answered within 0.2 s" in error
    assert f"pool {NAME}" in error


def test_borrowers_that_come_later_wait_for_the_same_call(hanging: Hanging) -> None:
    for _ in range(5):
        fault(hanging, timeout=0)
    assert (hanging.vault.calls, len(asking())) == (1, 1)
    hanging.end.set()
    assert hanging(timeout=5) == "a session"


def test_a_call_that_hangs_for_very_long_is_given_up_for_another_one_but_not_without_bound(
    hanging: Hanging,
) -> None:
    for _ in range(10):
        fault(hanging, timeout=0)
        hanging.now += credentials.HUNG_AFTER
    assert hanging.vault.calls == len(asking()) == credentials.MOST_CALLS


def test_a_new_call_heals_what_a_hung_one_has_blocked(hanging: Hanging) -> None:
    fault(hanging, timeout=0)
    hanging.now += credentials.HUNG_AFTER
    hanging.vault.before_answer = lambda: None
    assert hanging(timeout=5) == "a session"


def test_an_answer_that_comes_too_late_for_its_borrower_is_there_for_the_next(
    hanging: Hanging,
) -> None:
    hanging.vault.answer = ("p1", 900)
    fault(hanging, timeout=0)
    hanging.end.set()
    wait_until(lambda: not asking(), DEADLINE, "it hangs on")
    assert hanging(timeout=0) == "a session"
    assert hanging.vault.calls == 1


def test_a_provider_that_needs_its_own_pool_is_an_error_not_a_deadlock(hanging: Hanging) -> None:
    hanging.vault.before_answer = lambda: hanging(timeout=0)
    error = fault(hanging, timeout=1)
    assert "raised PasswordProviderError" in str(error)
    assert "has not answered" in str(error)
