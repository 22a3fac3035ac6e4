"""Runs in the parent: what a supervisor does in each round, so that one failure stops nothing else.

Every call to the system may fail: there is no process, no descriptor, no memory or no space left,
or a directory has gone. Healthy workers must not pay for it. So each part of a round is a *duty*
that runs by itself: its error is logged once, it is tried again, and its success is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pooldaemon.backoff import Backoff
from pooldaemon.workers.process.errors import in_a_line

logger = logging.getLogger("pooldaemon.supervisor")

DELAYS = 0.5, 30.0
"""First and longest delay, in seconds, before a duty is tried again."""


@dataclass
class _Trouble:
    error: str
    since: float
    times: int = 0
    retry_at: float = float("-inf")
    backoff: Backoff = field(default_factory=lambda: Backoff(*DELAYS))


class Duties:
    """Main thread only. Times are of the monotonic clock.

    :ivar failed: whether a duty has failed since this was last set to ``False``.
    """

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}
        self.failed = False

    def every_time(self, what: str, duty: Callable[[], object], now: float) -> Exception | None:
        """Do what must never wait. Returns its error, ``None`` if it succeeded.

        :param what: names it in the log and in ``status``: the supervisor can't … just now.
        """
        try:
            duty()
        except Exception as error:  # noqa: BLE001 - workers must not die of a supervisor's error
            self._note(what, error, now)
            return error
        self._note_success(what, now)
        return None

    def with_backoff(
        self, what: str, duty: Callable[[], object], now: float, longest: float = DELAYS[1]
    ) -> Exception | None:
        """The same for a duty that can wait: after a failure it is not tried for a while.

        :param longest: seconds of that while, at the most.
        """
        if self.is_put_off(what, now):
            return None
        if (error := self.every_time(what, duty, now)) is not None:
            trouble = self._troubles[what]
            trouble.retry_at = now + min(longest, trouble.backoff.next_delay())
        return error

    def is_put_off(self, what: str, now: float) -> bool:
        return now < self.retry_at(what)

    def retry_at(self, what: str) -> float:
        """When it is tried again; ``-inf`` if it has not failed."""
        trouble = self._troubles.get(what)
        return trouble.retry_at if trouble else float("-inf")

    def describe(self, now: float) -> list[dict[str, Any]]:
        """The duties that fail at present, for ``status``."""
        return list(self._describe(now))

    def _describe(self, now: float) -> Iterator[dict[str, Any]]:
        for what, trouble in self._troubles.items():
            seconds = round(now - trouble.since, 1)
            yield {"what": what, "error": trouble.error, "for": seconds, "times": trouble.times}

    def _note(self, what: str, error: Exception, now: float) -> None:
        self.failed = True
        message = in_a_line(error)
        trouble = self._troubles.setdefault(what, _Trouble("", now))
        trouble.times += 1
        is_news, trouble.error = trouble.error != message, message
        if is_news:  # once, not in every round
            # A system error says everything in one line; any other may be a bug and needs a
            # traceback.
            trace = None if isinstance(error, OSError) else error
            logger.error("The supervisor can't %s: %s; it goes on", what, message, exc_info=trace)

    def _note_success(self, what: str, now: float) -> None:
        if (trouble := self._troubles.pop(what, None)) is not None:
            seconds = now - trouble.since
            logger.warning("The supervisor can %s again, after %.1f s", what, seconds)
