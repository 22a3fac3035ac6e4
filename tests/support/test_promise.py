import itertools

import pytest

from tests.support.promise import TRIES, assert_within


def test_one_good_measurement_is_enough() -> None:
    taken = iter([*[2.0] * (TRIES - 1), 1.9])
    assert_within(2.0, taken.__next__)
    assert list(taken) == []


def test_a_promise_that_is_never_kept_fails_with_what_it_took() -> None:
    with pytest.raises(AssertionError, match=r"within 2 s, took \[(2.0, )+2.0\]"):
        assert_within(2.0, itertools.repeat(2.0).__next__)
