"""password_provider: what may be one, how two are distinguished, and what it may return."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.pool.config import PoolConfig, read_pool_config
from pooldaemon.pool.drivers.provider import PasswordProvider, read_answer
from pooldaemon.pool.registry import PoolKey

WHERE = "DATABASES['shop']['OPTIONS']['pool']['password_provider']"
SECRET = "s3cret-of-the-tests"


def never_called() -> str:
    raise AssertionError("the provider was called")


async def asynchronous() -> str:
    return SECRET


@dataclass
class Vault:
    """A provider that holds its token."""

    token: str = ""

    def __call__(self) -> str:
        return self.token

    def read(self) -> str:
        return self.token


def config(provider: Any) -> PoolConfig:
    read = read_pool_config("shop", {"password_provider": provider})
    assert read is not None
    return read


# -- settings ---------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [never_called, f"{__name__}.never_called"])
def test_a_callable_or_its_path_is_accepted_and_not_called(wanted: Any) -> None:
    provider = config(wanted).password_provider
    assert provider is not None
    assert provider.call is never_called


def test_without_one_there_is_none() -> None:
    read = read_pool_config("shop", {})
    assert read is not None
    assert read.password_provider is None


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (7, "it is an int; it must be a callable without arguments, or the dotted path of one."),
        (None, "it is None; it must be a callable"),
        ({"a": 1}, "it is a dict; it must be a callable"),
        (SECRET, "it is a string without a dot; it must be a callable"),
        ("no.such.module", "'no.such.module' can't be imported: No module named 'no'."),
        ("math.sine", "'math.sine' can't be imported: module 'math' has no attribute 'sine'"),
        (".relative", "'.relative' can't be imported:"),
        ("math.pi", "it is a float; it must be a callable"),
        (asynchronous, "it is an async function; it must be a plain one."),
    ],
)
def test_what_is_no_provider_is_refused_with_its_place(wanted: Any, message: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        config(wanted)
    assert str(caught.value).startswith(f"{WHERE}: {message}")
    assert SECRET not in str(caught.value)


def test_for_a_misspelled_key_the_message_names_the_right_one() -> None:
    with pytest.raises(ImproperlyConfigured, match="Did you mean 'password_provider'"):
        read_pool_config("shop", {"password_provder": never_called})


def test_a_limit_keeps_the_provider() -> None:
    limited = config(never_called).limited_to(2)
    assert limited.password_provider == config(never_called).password_provider


# -- identity ---------------------------------------------------------------------------


def test_a_path_and_its_callable_are_one_provider() -> None:
    path = f"{__name__}.never_called"
    assert PoolKey(config(path)) == PoolKey(config(never_called))


def test_other_callables_are_other_providers_even_if_they_are_equal() -> None:
    make: list[Callable[[], Any]] = [
        lambda: functools.partial(str, SECRET),
        lambda: Vault(SECRET),
        lambda: Vault(SECRET).read,
    ]
    for one, two in [(new(), new()) for new in make]:
        assert PoolKey(config(one)) != PoolKey(config(two))
        assert PoolKey(config(one)) == PoolKey(config(one))


def test_a_method_is_the_same_provider_each_time_it_is_looked_up() -> None:
    vault = Vault()
    assert PoolKey(config(vault.read)) == PoolKey(config(vault.read))
    assert PoolKey(config(vault.read)) != PoolKey(config(vault.__call__))


def test_todays_token_is_no_part_of_the_key() -> None:
    vault = Vault("monday")
    monday = PoolKey(config(vault))
    vault.token = "tuesday"
    assert PoolKey(config(vault)) == monday


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (never_called, f"{__name__}.never_called"),
        (Vault(SECRET), f"{__name__}.Vault"),
        (Vault(SECRET).read, f"{__name__}.Vault.read"),
        (functools.partial(functools.partial(never_called), SECRET), f"{__name__}.never_called"),
        (functools.partial(Vault(SECRET), SECRET), f"{__name__}.Vault"),
    ],
)
def test_its_name_says_where_it_is_and_shows_no_secret(call: Any, name: str) -> None:
    assert PasswordProvider(call).name == name
    assert SECRET not in repr(config(call))


# -- answers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "lifetime"),
    [
        (SECRET, 0),
        ((SECRET, 0), 0),
        ((SECRET, 900), 900),
        ((SECRET, 0.5), 0.5),
        ((SECRET, math.inf), math.inf),
    ],
)
def test_an_answer_is_a_password_and_perhaps_its_lifetime(returned: Any, lifetime: float) -> None:
    answer = read_answer(returned)
    assert answer == (SECRET, lifetime)
    assert SECRET not in repr(answer)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned None; it must return a password, or (password, lifetime in seconds)"),
        ("", "returned an empty password;"),
        (SECRET.encode(), "returned a bytes;"),
        ([SECRET, 900], "returned a list;"),
        ((), "returned a tuple of nothing;"),
        ((SECRET,), "returned a tuple of a str;"),
        ((SECRET, 900, 1), "returned a tuple of a str, an int, an int;"),
        ((900, SECRET), "returned a tuple of an int, a str;"),
        (("", 900), "returned an empty password;"),
        ((SECRET, "900"), "returned a lifetime that is a str;"),
        ((SECRET, True), "returned a lifetime that is a bool;"),
        ((SECRET, None), "returned a lifetime that is None;"),
        ((SECRET, -1), "returned a lifetime of -1; it must be 0 seconds or more"),
        ((SECRET, math.nan), "returned a lifetime of nan; it must be 0 seconds or more"),
    ],
)
def test_any_other_answer_is_refused_without_showing_the_password(
    returned: Any, message: str
) -> None:
    with pytest.raises(ValueError, match="it must") as caught:
        read_answer(returned)
    assert str(caught.value).startswith(message)
    assert SECRET not in str(caught.value)
