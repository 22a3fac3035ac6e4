"""Rules of settings, and the messages about wrong values."""

import math
from typing import Any

import pytest
from django.db import OperationalError

from pooldaemon.conf import DAEMON_RULES, Choice, Number, Rule, check_value, nearest
from pooldaemon.exceptions import ImproperlyConfigured, PoolError, PoolTimeout, TooManyWaiters

WHOLE = Number(1, 10, whole=True)
SECONDS = Number(0.5, 60, also=(-1, None))
FLAG = Choice((True, False))


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (WHOLE, 1),
        (WHOLE, 10),
        (SECONDS, 0.5),
        (SECONDS, 60),
        (SECONDS, -1),
        (SECONDS, None),
        (FLAG, True),
        (FLAG, False),
        (Choice(("a", "b")), "b"),
    ],
)
def test_a_value_within_the_rule_is_accepted(rule: Rule, value: Any) -> None:
    check_value("X", rule, value)


@pytest.mark.parametrize(
    ("rule", "value"),
    [(WHOLE, value) for value in (0, 11, -1, 2.0, "2", True, None, [], math.nan)]
    + [(SECONDS, value) for value in (0.49, 60.1, -2, math.nan, math.inf, True, "1", b"1")]
    + [pytest.param(rule, 10**400, id="beyond any float") for rule in (SECONDS, WHOLE)]
    + [(FLAG, value) for value in (1, 0, None, "True")]
    + [(Choice(("a", "b")), "c")],
)
def test_a_value_outside_the_rule_is_refused(rule: Rule, value: Any) -> None:
    with pytest.raises(ImproperlyConfigured):
        check_value("X", rule, value)


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        (WHOLE, "ten", "X is 'ten'; it must be a whole number from 1 to 10."),
        (SECONDS, 0, "X is 0; it must be a number of seconds from 0.5 to 60, or -1, or None."),
        (FLAG, "no", "X is 'no'; it must be one of True, False."),
        (Choice(("dirty", "never")), 1, "X is 1; it must be one of 'dirty', 'never'."),
    ],
)
def test_a_refusal_says_where_what_was_given_and_what_is_valid(
    rule: Rule, value: Any, message: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        check_value("X", rule, value)
    assert str(caught.value) == message


def test_a_near_word_is_suggested_and_a_far_one_is_not() -> None:
    assert nearest("pool_sise", ["timeout", "pool_size"]) == " Did you mean 'pool_size'?"
    assert nearest("zzz", ["timeout", "pool_size"]) == ""


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("processes", (1, 1000), (0, 1001, -1, 1.5, True, None)),
        ("threads", (1, 10_000), (0, 10_001, "4", None)),
        ("max_connections", (1, 100_000, None), (0, 100_001, 2.5, False)),
        ("idle_interval", (0.01, 604_800), (0, 0.009, 604_801, math.nan, None)),
        ("graceful_timeout", (0, 604_800.0), (-0.1, math.inf, None)),
    ],
)
def test_each_setting_of_a_daemon_has_its_range(
    name: str, good: tuple[Any, ...], bad: tuple[Any, ...]
) -> None:
    rule = DAEMON_RULES[name]
    assert [value for value in good if not rule.accepts(value)] == []
    assert [value for value in bad if rule.accepts(value)] == []


def test_errors_of_the_pool_are_caught_by_handlers_of_database_errors() -> None:
    for error in (PoolError, PoolTimeout, TooManyWaiters):
        assert issubclass(error, OperationalError)
