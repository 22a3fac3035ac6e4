"""A pool's part in the budget of its process: what it asks for, and what it gives up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from pooldaemon.pool.budget import LOOK_AGAIN, Budget
from pooldaemon.pool.owners import Owner
from pooldaemon.pool.slot import Slot


class Waiter:
    """A thread in the queue. ``signal`` is held until a slot is handed over."""

    __slots__ = ("cancelled", "owner", "signal", "since", "slot")

    def __init__(self, owner: Owner, since: float) -> None:
        self.owner = owner
        self.since = since
        self.slot: Slot | None = None
        self.cancelled = False
        self.signal = threading.Lock()
        self.signal.acquire()


class Share:
    """
    :param idle, empty, waiters: the pool's, where others change them at any moment.
    :param serve: gives free slots to those who wait.
    :param put: returns a slot.
    :param reclaim: closes what threads have left that ended without giving back.
    """

    def __init__(
        self,
        budget: Budget,
        idle: deque[Slot],
        empty: deque[Slot],
        waiters: deque[Waiter],
        *,
        serve: Callable[[], None],
        put: Callable[[Slot], None],
        reclaim: Callable[[], None],
    ) -> None:
        self._budget = budget
        self._idle = idle
        self._empty = empty
        self._waiters = waiters
        self.serve = serve
        self._put = put
        self.reclaim = reclaim
        self.paused = False
        """The pool lends nothing just now."""

    def lacks_permit(self) -> bool:
        """Whether it is the limit of the process that keeps this pool from opening more."""
        return self._budget.limit is not None and bool(self._empty)

    def first_since(self) -> float | None:
        """Since when the first in the queue has waited."""
        try:
            return self._waiters[0].since
        except IndexError:
            return None

    def waiting_since(self) -> float | None:
        # At its own cap a permit is no use.
        return self.first_since() if self._empty and not self.paused else None

    def owners(self) -> set[Owner]:
        return {waiter.owner for waiter in self._waiters.copy()}

    def no_room(self) -> str:
        """What an error adds, if there is a place under the pool's own cap."""
        return f" No room: {self._budget}." if self.lacks_permit() else ""

    def can_serve(self) -> bool:
        """Whether somebody waits for what is there."""
        since = self.first_since()
        if since is None:
            return False
        return bool(self._idle) or (bool(self._empty) and self._budget.has_room(since))

    def is_owed(self) -> bool:
        """Whether a thread elsewhere has waited for a permit longer than any here."""
        own = self.first_since()
        other = self._budget.first_since(apart_from=self)
        return other < (float("inf") if own is None else own)

    def sleep(self, waiter: Waiter, timeout: float) -> None:
        """Return when *waiter* got a slot, or after *timeout* seconds."""
        if self._budget.limit is None:
            waiter.signal.acquire(timeout=timeout)
            return
        deadline = time.monotonic() + timeout
        left = timeout
        while True:
            if self._empty and waiter.slot is None:
                self._budget.make_room()
            if waiter.signal.acquire(timeout=max(0.0, min(left, LOOK_AGAIN))) or left <= 0:
                return
            left = deadline - time.monotonic()

    def idle_since(self) -> float | None:
        try:
            return self._idle[0].idle_since
        except IndexError:
            return None

    def close_idle(self) -> None:
        try:
            slot = self._idle.popleft()
        except IndexError:
            return
        slot.drop("process limit")
        self._put(slot)
