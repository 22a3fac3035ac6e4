"""Waiting for what another process or thread is about to do, without a blind sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL = 0.01
"""Seconds between two questions."""


def wait_until(predicate: Callable[[], T], timeout: float, message: str) -> T:
    """The first true value of *predicate*, which is called at least once.

    :param timeout: seconds.
    :raises AssertionError: there was none in time; it says *message*.
    """
    deadline = time.monotonic() + timeout
    while True:
        # Read before asking: a slow predicate still gets the answer it has at the deadline.
        last = time.monotonic() >= deadline
        value = predicate()
        if value:
            return value
        if last:
            raise AssertionError(f"{message} (waited {timeout:g} s, last value {value!r})")
        time.sleep(INTERVAL)
