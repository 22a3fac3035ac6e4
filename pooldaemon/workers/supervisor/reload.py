"""Runs in the parent: a rolling reload, from the preflight of the new code to the last old worker.

New code needs a new process. So the command is executed afresh twice: once beside the supervisor,
to try whether it could take over, and then in the supervisor's own place. It keeps its pid, and so
its children, and what it hands over: the lock, the control socket, the workers' parent_death_pipe.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import Any

from pooldaemon.workers.process.invocation import Invocation
from pooldaemon.workers.supervisor.preflight import Preflight

logger = logging.getLogger("pooldaemon.supervisor")

MOST_FAILURES = 5
"""Deaths of new workers after which a reload has failed. As many as at a start: the reason of the
first
deaths may be temporary."""


class ReloadState(Enum):
    NONE = "none"
    TRYING = "trying"
    ROLLING = "rolling"
    DONE = "done"
    FAILED = "failed"


class Reload:
    """The daemon's present reload, or its last one.

    The next one may begin while old workers still drain for this one, which may take as long as
    their units do. If its preflight fails, theirs goes on.

    :param number: how many there have been.
    """

    def __init__(self, number: int = 0, state: ReloadState = ReloadState.NONE) -> None:
        self.number = number
        self.state = state
        self.reason: str | None = None
        self.is_rolling = state is ReloadState.ROLLING
        """Whether old workers are being replaced, for this reload or the one before."""
        self.invocation: Invocation | None = None
        """The command line that is tried, or was tried last."""
        self._preflight: Preflight | None = None
        self._is_requested = False
        """Another reload was requested during the preflight."""
        self._failures = 0

    @property
    def is_under_way(self) -> bool:
        return self.is_trying or self.is_rolling

    @property
    def is_trying(self) -> bool:
        return self._preflight is not None

    @property
    def children(self) -> set[int]:
        """The preflight's process, if one is under way."""
        return {self._preflight.pid} if self._preflight else set()

    def begin(self, now: float, timeout: float, invocation: Invocation) -> None:
        """Start the preflight; it gets *timeout* seconds."""
        self.number += 1
        self.state = ReloadState.TRYING
        self.reason = None
        self.invocation = invocation
        try:
            self._preflight = Preflight(invocation, now + timeout)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            self.fail(f"the preflight can't be started: {where}{error.strerror or error}")
        else:
            pid, directory = self._preflight.pid, invocation.directory
            logger.info("reload: trying the new code as pid %d, in %s", pid, directory)

    def note_request(self) -> bool:
        """Note that another reload is to follow; returns ``False`` if it can begin now."""
        if self.is_trying:
            self._is_requested = True
            logger.info("reload: another one follows the one that is tried")
        return self._is_requested

    def take_request(self) -> bool:
        """Whether the reload that was requested during a preflight can begin now."""
        if self.is_trying or not self._is_requested:
            return False
        self._is_requested = False
        return True

    def has_passed(self, now: float) -> bool:
        """Whether the preflight has passed. A failed one is logged."""
        if self._preflight is None or not self._preflight.has_ended(now):
            return False
        preflight, self._preflight = self._preflight, None
        if (reason := preflight.end()) is not None:
            self.fail(reason)
        return reason is None

    def cancel(self) -> None:
        """Cancel it: the daemon ends."""
        if self._preflight is not None:
            preflight, self._preflight = self._preflight, None
            preflight.end()
        if self.state in (ReloadState.TRYING, ReloadState.ROLLING):
            self.fail("the daemon ends")
        self.is_rolling = self._is_requested = False

    def note_failure(self, death: object) -> bool:
        """Note the death of a new worker; returns whether the reload has failed by it."""
        self._failures += 1
        if self._failures < MOST_FAILURES:
            return False
        self.give_up(str(death))
        return True

    def give_up(self, reason: str) -> None:
        """Stop replacing old workers, because the new ones fail."""
        self.is_rolling = False
        if self.state is ReloadState.TRYING:  # the next reload, which may bring better code
            logger.error("reload: the one before has failed: %s", reason)
        else:
            self.fail(reason)

    def finish(self) -> None:
        self.is_rolling = False
        if self.state is ReloadState.ROLLING:
            self.state = ReloadState.DONE
        logger.info("reload: done, all workers are new")

    def fail(self, reason: str) -> None:
        self.state = ReloadState.FAILED
        self.reason = reason
        logger.error("reload: failed, the old workers stay: %s", reason)

    def describe(self) -> dict[str, Any]:
        return {"number": self.number, "state": self.state.value, "reason": self.reason}
