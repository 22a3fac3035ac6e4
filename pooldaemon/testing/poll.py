"""Waiting with a deadline for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SHORTEST, LONGEST = 0.01, 0.1
"""Limits of the seconds between two calls. Within them it is a twentieth of the time waited so far,
so that long waits take little processor time from what is waited for."""


def wait_until(predicate: Callable[[], T], timeout: float, message: str) -> T:
    """Call *predicate* until it returns a true value; returns that value.

    It is called at least once, and once more at the deadline.

    :param timeout: seconds.
    :param message: for the error.
    :raises AssertionError: *predicate* has not returned a true value in time.
    """
    began = time.monotonic()
    while True:
        # The clock is read first, so that a slow predicate is called once after the deadline.
        waited = time.monotonic() - began
        last = waited >= timeout
        value = predicate()
        if value:
            return value
        if last:
            raise AssertionError(f"{message} (waited {timeout:g} s, last value {value!r})")
        time.sleep(min(max(SHORTEST, waited / 20), LONGEST))
