"""Runs in the child: the limits after which a worker is replaced."""

from __future__ import annotations

import random

from pooldaemon.conf import DaemonConfig, count

JITTER = 0.1
"""Each limit is lowered at random by up to this fraction, so that workers that started together are
not replaced together."""


def check_memory(config: DaemonConfig, rss: int) -> str | None:
    """Why ``max_rss`` is too low for a worker that has just booted, or ``None``.

    Such a worker would be replaced at once, and its replacement, too.

    :param rss: its resident memory, in bytes.
    """
    if config.max_rss is None or rss < config.max_rss * (1.0 - JITTER) * 2**20:
        return None
    return (
        f"max_rss is {config.max_rss} MiB, lowered at random by up to a tenth, but a worker uses "
        f"{rss / 2**20:.0f} MiB before its first unit"
    )


class RecycleLimits:
    """The limits of one worker: ``max_units``, ``max_rss`` and ``max_age``.

    :param started: when it began to work, in seconds of the monotonic clock.
    """

    def __init__(self, config: DaemonConfig, started: float) -> None:
        self._config = config
        self._started = started
        self._factor = random.uniform(1.0 - JITTER, 1.0)

    def exceeded(self, units: int, rss: int, now: float) -> str | None:
        """Why the worker has to be replaced, or ``None``.

        :param units: how many it has done.
        :param rss: its resident memory, in bytes.
        :param now: seconds of the monotonic clock.
        """
        config, mebibytes, age = self._config, rss / 2**20, now - self._started
        if config.max_units is not None and units >= config.max_units * self._factor:
            return f"{count(units, 'unit')} done"
        if config.max_rss is not None and mebibytes >= config.max_rss * self._factor:
            return f"{mebibytes:.0f} MiB of memory in use"
        if config.max_age is not None and age >= config.max_age * self._factor:
            return f"{age:.0f} s old"
        return None
