"""The helper that keeps sleeps out of the tests."""

import pytest

from tests.support.poll import wait_until


def test_wait_until_returns_the_first_true_value() -> None:
    values = iter([None, 0, 7, 8])
    assert wait_until(lambda: next(values), 5, "no true value") == 7


def test_wait_until_fails_with_its_message_and_the_last_value_after_the_timeout() -> None:
    with pytest.raises(AssertionError, match=r"no worker came up \(waited 0.05 s, last value \[\]"):
        wait_until(list, 0.05, "no worker came up")


def test_wait_until_asks_at_least_once() -> None:
    assert wait_until(lambda: True, 0, "never asked")
