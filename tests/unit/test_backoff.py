"""Delays that grow with each failure."""

import random

import pytest

from pooldaemon.backoff import Backoff


def test_delays_double_up_to_the_longest_with_jitter() -> None:
    for _ in range(50):
        backoff = Backoff(1.0, 10.0)
        for full in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
            assert full / 2 <= backoff.next_delay() <= full


def test_delays_differ_between_those_who_failed_together() -> None:
    assert len({Backoff(1.0, 10.0).next_delay() for _ in range(20)}) > 1


def test_after_a_success_delays_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    backoff = Backoff(0.5, 30.0)
    assert [backoff.next_delay() for _ in range(3)] == [0.5, 1.0, 2.0]
    assert backoff.failures == 3
    backoff.reset()
    assert backoff.next_delay() == 0.5


def test_a_very_long_outage_does_not_overflow() -> None:
    backoff = Backoff(1.0, 30.0)
    backoff.failures = 10_000
    assert backoff.next_delay() <= 30.0
