"""One limit for the sessions of all pools of a process.

Every session on the server has a permit, from before it is opened until the server has let go of
it. A thread that needs one and finds none closes the connection that has been idle for longest, in
whatever pool; if there is none, it waits. Whoever gives a connection back while a thread elsewhere
has waited for longer than the first one in its own pool closes it, and so passes the permit on.

A session may end wherever Python's garbage collector runs. So permits lie in a deque, whose
``append`` and ``pop`` are atomic, and nothing here takes a lock. Sets are looked at as a
``copy()``, which is atomic, too: ``tuple()`` may collect garbage with its iterator under way.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from operator import itemgetter
from typing import Protocol

from pooldaemon.pool.owners import Owner

LOOK_AGAIN = 0.1
"""Seconds after which a waiting thread looks again whether a closed session has ended, or an idle
connection has turned up: nobody wakes it for these."""

CLAIM_POLL = 0.01
"""The same for one that has its place in a pool, and waits for nothing but the permit."""


class Candidate(Protocol):
    """Waits for a permit: a pool with a queue, or a thread."""

    def waiting_since(self) -> float | None:
        """Since when (monotonic clock); ``None``: it could not use a permit now."""

    def serve(self) -> None:
        """Take a permit, if there is one."""

    def owners(self) -> set[Owner]:
        """The threads that wait, those that may hold something meanwhile."""


class Reserve(Protocol):
    """What a pool can give up: connections that nobody uses."""

    def reclaim(self) -> None:
        """Close those that threads have left which ended without giving back."""

    def idle_since(self) -> float | None:
        """Since when the longest idle one is idle (monotonic clock)."""

    def close_idle(self) -> None:
        """Close that one."""


class Sessions(Protocol):
    """The sessions of one pool."""

    name: str
    share: Reserve | None

    @property
    def open_sessions(self) -> int: ...

    def forget_ended(self) -> None: ...


class _Claim:
    """A thread that takes its permit itself."""

    def __init__(self, since: float) -> None:
        self._since = since

    def waiting_since(self) -> float | None:
        return self._since

    def serve(self) -> None:
        """It looks by itself."""

    def owners(self) -> set[Owner]:
        return set()


class Budget:
    """
    :param limit: the most sessions at once; ``None``: no limit.

    Thread-safe. A forked child makes its own.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._free = deque([None] * (limit or 0))
        self.queue: set[Candidate] = set()
        """Who waits for a permit. Looked at by every give-back."""
        self._counted: set[weakref.ref[Sessions]] = set()

    def count(self, sessions: Sessions) -> None:
        """Tell of a pool's sessions; they are forgotten when their object is no more."""
        if self.limit is not None:
            self._counted.add(weakref.ref(sessions, self._counted.discard))

    def has_room(self, since: float) -> bool:
        """Whether there is a permit for somebody who has waited *since*.

        None while another has waited for longer: then it is on its way there.
        """
        if self.limit is None:
            return True
        return bool(self._free) and not (self.queue and self.first_since() < since)

    def take(self, since: float) -> bool:
        """Take a permit, if there is one."""
        if self.limit is None:
            return True
        if not self.has_room(since):
            return False
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def release(self) -> None:
        """A session has ended on the server, or was not opened after all."""
        if self.limit is None:
            return
        self._free.append(None)
        if self.queue:
            self.pass_on()

    def first_since(self, apart_from: Candidate | None = None) -> float:
        """Since when the first has waited; infinity if there is nobody."""
        found = [c.waiting_since() for c in self.queue.copy() if c is not apart_from]
        return min((since for since in found if since is not None), default=float("inf"))

    def pass_on(self) -> None:
        """Offer the free permits, to those who have waited for longest first."""
        known = [(c.waiting_since(), c) for c in self.queue.copy()]
        waiting = [(since, c) for since, c in known if since is not None]
        for _, candidate in sorted(waiting, key=itemgetter(0)):
            if not self._free:
                return
            candidate.serve()

    def wait(self, since: float, deadline: float) -> bool:
        """Take a permit, in the order of *since*; false if there was none until *deadline*."""
        if self.take(since):
            return True
        claim = _Claim(since)
        self.queue.add(claim)
        try:
            while not self.take(since):
                if time.monotonic() >= deadline:
                    return False
                self.make_room()
                time.sleep(CLAIM_POLL)
            return True
        finally:
            self.queue.discard(claim)
            self.pass_on()  # those behind it were told to wait

    def would_deadlock(self, owner: Owner) -> bool:
        """Whether those who hold all the sessions would wait for one, *owner* among them."""
        waiting = {owner}.union(*(candidate.owners() for candidate in self.queue.copy()))
        held = sum(slot.parked is None for one in waiting for slot in one.slots)
        return self.limit is not None and held >= self.limit

    def make_room(self) -> None:
        """Look for a session that has ended meanwhile, or else end one that nobody uses."""
        shares = []
        for sessions in self._known():
            sessions.forget_ended()
            if (share := sessions.share) is not None:
                share.reclaim()
                shares.append(share)
        if self._free:
            self.pass_on()
            return
        idle = [(since, share) for share in shares if (since := share.idle_since()) is not None]
        if idle:
            min(idle, key=itemgetter(0))[1].close_idle()

    def _known(self) -> list[Sessions]:
        return [sessions for ref in self._counted.copy() if (sessions := ref()) is not None]

    def __str__(self) -> str:
        """The limit and who uses it up, as an error tells it."""
        used = sorted(((one.open_sessions, one.name) for one in self._known()), reverse=True)
        told = ", ".join(f"{number} {name}" for number, name in used if number)
        return f"MAX_PROCESS_CONNECTIONS={self.limit} for all pools of the process ({told})"
