"""Waiting for what another process or thread is about to do, without a blind sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SHORTEST, LONGEST = 0.01, 0.1
"""Seconds between two questions. Between them, a twentieth of what was waited so far: who waits for
long has processes to wait for, and is not to keep the processor from them."""


def wait_until(predicate: Callable[[], T], timeout: float, message: str) -> T:
    """The first true value of *predicate*, which is called at least once.

    :param timeout: seconds.
    :raises AssertionError: there was none in time; it says *message*.
    """
    began = time.monotonic()
    while True:
        # Read before asking: a slow predicate still gets the answer it has at the deadline.
        waited = time.monotonic() - began
        last = waited >= timeout
        value = predicate()
        if value:
            return value
        if last:
            raise AssertionError(f"{message} (waited {timeout:g} s, last value {value!r})")
        time.sleep(min(max(SHORTEST, waited / 20), LONGEST))
