"""A pool's password: when it is asked for, kept, dropped; and how seldom a wrong one is tried."""

import contextvars
import threading
import time
from typing import Any

import pytest

from pooldaemon.pool.drivers import credentials
from pooldaemon.pool.drivers.credentials import ACCESS_DENIED
from tests.support.poll import wait_until
from tests.unit.fakes import DEADLINE, Task
from tests.unit.logins import NAME, Login, ServerError


@pytest.fixture
def login() -> Login:
    return Login()


# -- asking and keeping -----------------------------------------------------------------


def test_a_password_without_lifetime_is_asked_for_at_each_login(login: Login) -> None:
    for expected in (1, 2, 3):
        assert login() == "a session"
        assert login.vault.calls == expected


@pytest.mark.parametrize(("lifetime", "kept"), [(900, 840), (100, 90), (7200, 7140)])
def test_one_with_a_lifetime_is_kept_until_shortly_before_its_end(
    login: Login, lifetime: float, kept: float
) -> None:
    login.vault.answer = ("p1", lifetime)
    for later, calls in ((0, 1), (kept - 0.1, 1), (0.2, 2)):
        login.now += later
        login()
        assert login.vault.calls == calls


def test_a_lifetime_counts_from_the_moment_of_asking(login: Login) -> None:
    login.vault.answer = ("p1", 100)

    def take_long() -> None:
        login.now += 80

    login.vault.before_answer = take_long
    login()
    login.now += 11
    login()
    assert login.vault.calls == 2


def test_one_without_end_is_kept_until_it_is_refused(login: Login) -> None:
    login.vault.answer = ("p1", float("inf"))
    login()
    login.now += 1e9
    login()
    assert login.vault.calls == 1
    login.server.password, login.vault.answer = "p2", "p2"
    login()
    assert login.server.tried == ["p1", "p1", "p1", "p2"]


def test_threads_that_need_a_password_at_the_same_time_ask_once(login: Login) -> None:
    gate = threading.Event()
    login.vault.answer = ("p1", 900)
    login.vault.before_answer = lambda: gate.wait(DEADLINE)
    tasks = [Task(login.credentials.password, NAME) for _ in range(8)]
    wait_until(lambda: login.vault.calls, DEADLINE, "nobody asks")
    gate.set()
    assert [task.result() for task in tasks] == ["p1"] * 8
    assert login.vault.calls == 1


def test_a_password_that_others_got_between_two_looks_is_used(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    login.vault.answer = ("p1", 900)
    lock = login.credentials._lock

    def others_come_first() -> object:
        monkeypatch.undo()
        assert login.credentials.password(NAME) == "p1"
        return lock.wait()

    monkeypatch.setattr(lock, "wait", others_come_first)
    assert login.credentials.password(NAME) == "p1"
    assert login.vault.calls == 1


def test_the_provider_sees_the_borrowers_context(login: Login) -> None:
    tenant = contextvars.ContextVar("tenant", default="")
    login.vault.before_answer = lambda: seen.append(tenant.get())
    seen: list[str] = []
    tenant.set("seven")
    login()
    assert seen == ["seven"]


def test_where_no_thread_can_be_started_the_borrowers_own_asks(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    asking: list[threading.Thread] = []
    login.vault.before_answer = lambda: asking.append(threading.current_thread())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert login() == "a session"
    assert asking == [threading.current_thread()]


# -- refused ----------------------------------------------------------------------------


def test_after_a_rotation_the_kept_password_is_refused_once_and_the_login_goes_on(
    login: Login,
) -> None:
    login.vault.answer = ("p1", 900)
    login()
    login.server.password, login.vault.answer = "p2", ("p2", 900)
    assert login() == "a session"
    assert login() == "a session"
    assert login.server.tried == ["p1", "p1", "p2", "p2"]
    assert login.vault.calls == 2


def test_a_rotation_between_asking_and_the_login_is_gone_through_as_well(login: Login) -> None:
    def rotate() -> None:
        login.server.password = login.vault.answer = "p2"

    login.vault.before_answer = rotate
    assert login() == "a session"
    assert login.server.tried == ["p1", "p2"]


def test_a_password_that_was_refused_is_not_tried_again_at_once(login: Login) -> None:
    login.server.password = "p2"
    message = str(login.refusal())
    assert login.server.tried == ["p1"]
    assert login.vault.calls == 2, "it may have had a newer one"
    for part in ("Access denied for user 'shop'", f"pool {NAME}", "FakeVault", "no further login"):
        assert part in message
    assert "p1" not in message


def test_the_error_is_the_servers_in_class_and_number(login: Login) -> None:
    login.server.password = "p2"
    for _ in range(2):
        refusal = login.refusal()
        assert type(refusal) is ServerError
        assert refusal.args[0] == ACCESS_DENIED
        assert isinstance(refusal.__cause__, ServerError)
        assert refusal.__cause__.__traceback__ is None, "its frames hold the password"


def test_a_provider_with_ever_new_passwords_is_tried_twice(login: Login) -> None:
    numbers = iter(range(100))

    def renew() -> None:
        login.vault.answer = f"wrong{next(numbers)}"

    login.vault.before_answer = renew
    login.server.password = "right"
    login.refusal()
    assert len(login.server.tried) == 2


def test_logins_that_come_soon_after_a_refusal_fail_without_asking_anybody(login: Login) -> None:
    login.server.password = "p2"
    login.refusal()
    asked = login.vault.calls
    for _ in range(5):
        assert "no further login for" in str(login.refusal())
    assert (len(login.server.tried), login.vault.calls) == (1, asked)


def test_the_time_without_logins_grows_up_to_a_bound_and_ends_with_success(login: Login) -> None:
    login.server.password = "p2"
    for longest in (1, 2, 4, 8, 16, 30, 30):
        login.refusal()
        tried = len(login.server.tried)
        login.now += longest * 0.499  # a delay is shortened at random by up to half
        login.refusal()
        assert len(login.server.tried) == tried
        login.now += longest * 0.502
    login.vault.answer = "p2"
    login()
    login.server.password = "p3"
    login.refusal()
    login.now += 1.01
    login.vault.answer = "p3"
    assert login() == "a session"


def test_other_errors_of_the_server_are_passed_on_and_delay_nothing(login: Login) -> None:
    def fail() -> None:
        raise ServerError(2003, "Can't connect")

    login.vault.answer = ("p1", 900)
    login.server.before_answer = fail
    for _ in range(3):
        assert login.refusal().args == (2003, "Can't connect")
    login.server.before_answer = lambda: None
    assert login() == "a session"
    assert login.vault.calls == 1


# -- several at the same time -----------------------------------------------------------


def take_a_while() -> None:
    time.sleep(0.02)  # a server's time, in which the other threads come


def test_a_rotation_costs_one_refused_login_however_many_threads_come(login: Login) -> None:
    login.vault.answer = ("p1", 900)
    login()
    login.server.password, login.vault.answer = "p2", ("p2", 900)
    login.server.before_answer = take_a_while
    tasks = [Task(login) for _ in range(8)]
    assert [task.result() for task in tasks] == ["a session"] * 8
    assert login.server.refused == ["p1"]
    assert login.vault.calls == 2


def test_a_wrong_password_is_tried_once_however_many_threads_come(login: Login) -> None:
    login.server.password = "p2"
    login.server.before_answer = take_a_while
    tasks = [Task(login) for _ in range(8)]
    for task in tasks:
        with pytest.raises(ServerError, match="Access denied"):
            task.result()
    assert login.server.tried == ["p1"]


def test_once_the_first_login_has_succeeded_the_others_go_together(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "FIRST_LOGIN", 10 * DEADLINE)
    first, others = threading.Event(), threading.Barrier(4)
    login.server.before_answer = lambda: first.wait(DEADLINE)
    one = Task(login)
    wait_until(lambda: login.server.tried, DEADLINE, "nobody logs in")

    def log_in_with_others() -> Any:
        login.server.before_answer = lambda: others.wait(DEADLINE)
        return login()

    tasks = [Task(log_in_with_others) for _ in range(4)]
    first.set()
    # The barrier lets nobody out of its login before all are in it.
    assert [task.result() for task in (one, *tasks)] == ["a session"] * 5


def test_a_first_login_that_hangs_does_not_hold_up_the_others_for_long(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "FIRST_LOGIN", 0.05)
    leave = threading.Event()
    login.server.before_answer = lambda: leave.wait(DEADLINE)
    hanging = Task(login)
    wait_until(lambda: login.server.tried, DEADLINE, "nobody logs in")
    login.server.before_answer = lambda: None
    assert Task(login).result() == "a session"
    assert hanging.is_alive()
    leave.set()
    hanging.result()


def test_an_answer_that_was_on_its_way_when_its_password_was_refused_is_not_kept(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "FIRST_LOGIN", 0.01)
    arrive, leave = threading.Event(), threading.Event()
    login.server.password = "p2"
    login.server.before_answer = lambda: arrive.wait(DEADLINE)
    refused = Task(login)
    wait_until(lambda: login.server.tried, DEADLINE, "nobody logs in")
    login.vault.answer = ("p1", 900)
    login.vault.before_answer = lambda: leave.wait(DEADLINE)
    outdated = Task(login.credentials.password, NAME)
    wait_until(lambda: login.vault.calls == 2, DEADLINE, "nobody asks")
    login.vault.answer = ("p2", 900)
    login.vault.before_answer = lambda: None
    arrive.set()
    assert refused.result() == "a session"
    leave.set()
    assert outdated.result() == "p1"
    assert login() == "a session"
    assert login.server.refused == ["p1"]
