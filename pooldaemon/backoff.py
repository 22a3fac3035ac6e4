"""Growing delays between tries of something that fails."""

from __future__ import annotations

import random


class Backoff:
    """Exponential, with jitter: first*1, first*2, first*4 … seconds, up to *longest*.

    Each delay is shortened at random by up to half ("equal jitter", as AWS's Architecture Blog
    calls it), so that those who failed together do not try again together. Not thread-safe.

    :param first: seconds after the first failure, more than 0.
    :param longest: seconds; no delay is longer.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self.failures = 0

    def next_delay(self) -> float:
        """Count a failure and say how long to wait after it."""
        # The exponent is bounded, or a long outage would overflow the float.
        delay = min(self._longest, self._first * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return delay * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self.failures = 0
