"""Runs in the child: when a worker has lived long enough."""

from __future__ import annotations

import random

from pooldaemon.conf import DaemonConfig

JITTER = 0.1
"""Each limit is lowered by up to this share at random, so that workers that started together do
not leave together."""


def refusal(config: DaemonConfig, rss: int) -> str | None:
    """Why a worker that has done nothing yet is too large to begin: it would be replaced at once.

    :param rss: memory in use, in bytes.
    """
    if config.max_rss is None or rss < config.max_rss * (1.0 - JITTER) * 2**20:
        return None
    return (
        f"max_rss is {config.max_rss} MiB, of which up to a tenth is taken off at random, but a "
        f"worker uses {rss / 2**20:.0f} MiB before its first unit"
    )


class RecycleLimits:
    """The limits of one worker.

    :param started: when it began to work (monotonic clock).
    """

    def __init__(self, config: DaemonConfig, started: float) -> None:
        self._config = config
        self._started = started
        self._share = random.uniform(1.0 - JITTER, 1.0)

    def is_over(self, units: int, rss: int, now: float) -> str | None:
        """Why the worker is to be replaced; ``None`` if it is not.

        :param units: done so far.
        :param rss: memory in use, in bytes.
        """
        config, mebibytes, age = self._config, rss / 2**20, now - self._started
        if config.max_units is not None and units >= config.max_units * self._share:
            return f"{units} units done"
        if config.max_rss is not None and mebibytes >= config.max_rss * self._share:
            return f"{mebibytes:.0f} MiB of memory in use"
        if config.max_age is not None and age >= config.max_age * self._share:
            return f"{age:.0f} s old"
        return None
