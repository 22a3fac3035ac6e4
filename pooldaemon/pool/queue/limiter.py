"""The limit for the sessions of all pools of a process (``MAX_PROCESS_CONNECTIONS``).

Every session has a permit, from before it is opened until the server has ended it. A thread that
finds no permit closes the connection that has been idle for longest, in any pool. If there is none,
it waits. A thread that returns a connection looks whether a thread of another pool has waited
for a permit longer than the first waiter of this pool. If so, it closes the connection and thereby
passes the permit on.

Permits lie in a deque, whose ``append`` and ``pop`` are atomic, so nothing here waits for a lock. A
permit to which nobody refers any more is replaced, wherever an exception lost it. The same holds
for waiting threads. Sets are read as a ``copy()``, which is atomic: ``tuple()`` may trigger the
garbage collector while its iterator is in use.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

from pooldaemon.pool.queue.borrowers import Borrower
from pooldaemon.pool.queue.waiters import Waiter, WaitQueue
from pooldaemon.pool.tokens import Token, TokenLock

if TYPE_CHECKING:
    from pooldaemon.pool.queue.entry import PoolEntry

LOOK_AGAIN = 0.1
"""Seconds after which a waiting thread looks again for a session that has ended or a connection
that has become idle. Nobody wakes it for these."""

LOOK_RARELY = 1.0
"""The same where the process has no limit. There a waiter is woken for everything, unless an
exception prevented that: this look is for that case."""

POLL = 0.001
"""Seconds between looks of the poller: see :mod:`~pooldaemon.pool.queue.time_slices`. So long a
connection lies idle at most if its last borrower does not use up its time slice."""

CLAIM_POLL = 0.01
"""The same for a thread that has an entry and waits for the permit only."""


class Candidate(Protocol):
    """Somebody who waits for a permit: a pool with waiters, or a thread."""

    def waiting_since(self) -> float | None:
        """Since when it waits (monotonic clock); ``None``: it could not use a permit now."""

    def serve(self) -> None:
        """Take a permit, if there is one."""

    def borrowers(self) -> set[Borrower]:
        """The threads that wait and may hold connections meanwhile."""


class Reserve(Protocol):
    """Connections of a pool that nobody uses, so that it can give them up."""

    def reclaim(self) -> None:
        """Close the connections that ended threads have not returned."""

    def idle_since(self) -> float | None:
        """Since when the longest idle connection is idle (monotonic clock)."""

    def close_idle(self) -> None:
        """Close that one."""


class Sessions(Protocol):
    """The sessions of one pool."""

    name: str
    reserve: Reserve | None

    @property
    def open_sessions(self) -> int: ...

    def forget_ended(self) -> None: ...


class _Claim:
    """A thread that has an entry and takes its permit itself."""

    def __init__(self, since: float) -> None:
        self._since = since

    def waiting_since(self) -> float | None:
        return self._since

    def serve(self) -> None:
        """It looks by itself."""

    def borrowers(self) -> set[Borrower]:
        return set()


UNLIMITED = Token()
"""Every permit where there is no limit."""


class ConnectionLimiter:
    """
    :param limit: the most sessions at once; ``None``: no limit.

    Thread-safe. A forked child makes its own.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._free: deque[Token] = deque()
        self._permits: set[weakref.ref[Token]] = set()
        """All permits: those in ``_free`` and those that somebody holds."""
        self._renewal = TokenLock()
        self._renew()
        self.queue: set[weakref.ref[Candidate]] = set()
        """Who waits for a permit. Looked at whenever a connection is returned."""
        self._counted: set[weakref.ref[Sessions]] = set()

    def count(self, sessions: Sessions) -> None:
        """Count a pool's sessions from now on, for as long as *sessions* lives."""
        if self.limit is not None:
            self._counted.add(weakref.ref(sessions, self._counted.discard))

    def enter(self, candidate: Candidate) -> None:
        """Add *candidate* to those who wait, until :meth:`leave` or its death."""
        self.queue.add(weakref.ref(candidate, self.queue.discard))

    def leave(self, candidate: Candidate) -> None:
        self.queue.discard(weakref.ref(candidate))

    def _renew(self) -> bool:
        """Replace permits that were lost; returns whether a permit is free."""
        if len(self._permits) < (self.limit or 0) and (token := self._renewal.take()) is not None:
            for _ in range(len(self._permits), self.limit or 0):
                permit = Token()
                self._permits.add(weakref.ref(permit, self._permits.discard))
                self._free.append(permit)
            del token
        return bool(self._free)

    def has_room(self, since: float) -> bool:
        """Whether there is a permit for somebody who has waited *since*.

        There is none as long as another candidate has waited longer: the permit is for that one.
        """
        if self.limit is None:
            return True
        return bool(self._free or self._renew()) and not (self.queue and self.first_since() < since)

    def take(self, since: float) -> Token | None:
        """Take a permit, if there is one. It is held as long as somebody refers to it."""
        if self.limit is None:
            return UNLIMITED
        if not self.has_room(since):
            return None
        try:
            return self._free.pop()
        except IndexError:
            return None

    def release(self, permit: Token) -> None:
        """A session has ended on the server, or was not opened after all."""
        if permit is UNLIMITED:
            return
        self._free.append(permit)
        if self.queue:
            self.pass_on()

    def first_since(self, apart_from: Candidate | None = None) -> float:
        """Since when the longest waiting candidate waits; infinity if nobody waits."""
        found = [one.waiting_since() for one in self._candidates() if one is not apart_from]
        return min((since for since in found if since is not None), default=float("inf"))

    def pass_on(self) -> None:
        """Offer the free permits to the candidates, longest waiting first."""
        known = [(one.waiting_since(), one) for one in self._candidates()]
        waiting = [(since, c) for since, c in known if since is not None]
        for _, candidate in sorted(waiting, key=itemgetter(0)):
            if not self._free:
                return
            candidate.serve()

    def wait(self, since: float, deadline: float) -> Token | None:
        """Take a permit, in the order of *since*; ``None`` if there is none until *deadline*."""
        if (permit := self.take(since)) is not None:
            return permit
        claim = _Claim(since)
        self.enter(claim)
        try:
            while (permit := self.take(since)) is None and time.monotonic() < deadline:
                self.make_room()
                time.sleep(CLAIM_POLL)
            return permit
        finally:
            self.leave(claim)
            self.pass_on()  # to those behind it, which had to wait

    def would_deadlock(self, borrower: Borrower) -> bool:
        """Whether all sessions are held by threads that wait for one, *borrower* among them."""
        waiting = {borrower}.union(*(candidate.borrowers() for candidate in self._candidates()))
        held = sum(not entry.parked for one in waiting for entry in one.held())
        return self.limit is not None and held >= self.limit

    def make_room(self) -> None:
        """Look for a session that has ended meanwhile, or else close one that nobody uses."""
        reserves = []
        for sessions in self._known():
            sessions.forget_ended()
            if (reserve := sessions.reserve) is not None:
                reserve.reclaim()
                reserves.append(reserve)
        if self._renew():
            self.pass_on()
            return
        idle = [(since, one) for one in reserves if (since := one.idle_since()) is not None]
        if idle:
            min(idle, key=itemgetter(0))[1].close_idle()

    def _candidates(self) -> list[Candidate]:
        return [one for ref in self.queue.copy() if (one := ref()) is not None]

    def _known(self) -> list[Sessions]:
        return [sessions for ref in self._counted.copy() if (sessions := ref()) is not None]

    def __str__(self) -> str:
        """The limit and the pools that use it up, for error messages."""
        used = sorted(((one.open_sessions, one.name) for one in self._known()), reverse=True)
        parts = ", ".join(f"{number} {name}" for number, name in used if number)
        return f"MAX_PROCESS_CONNECTIONS={self.limit} for all pools of the process ({parts})"


class PoolLimiter:
    """One pool's side of the process's limit: its waiters, and what it can give up.

    :param idle, empty: the pool's entries; other threads change these deques at any moment.
    :param serve: gives free entries to waiters.
    :param put: returns an entry to the pool.
    :param reclaim: closes connections that ended threads have not returned, and lost ones.
    """

    def __init__(
        self,
        limiter: ConnectionLimiter,
        idle: deque[PoolEntry],
        empty: deque[PoolEntry],
        queue: WaitQueue,
        *,
        serve: Callable[[], None],
        put: Callable[[PoolEntry], None],
        reclaim: Callable[[], None],
    ) -> None:
        self._limiter = limiter
        self._idle = idle
        self._empty = empty
        self._queue = queue
        self.serve = serve
        self._put = put
        self.reclaim = reclaim
        self.paused = False
        """The pool lends nothing: see ``FairQueuePool.pause``."""

    def claim(self) -> None:
        """A thread waits in this pool, perhaps for a permit."""
        if self._limiter.limit is not None:
            self._limiter.enter(self)

    def renounce(self) -> None:
        """No thread waits in this pool any more."""
        self._limiter.leave(self)

    def lacks_permit(self) -> bool:
        """Whether the limit of the process, and not its own cap, keeps this pool from growing."""
        return self._limiter.limit is not None and bool(self._empty)

    def first_since(self) -> float | None:
        """Since when the first in the queue waits."""
        return None if (first := self._queue.first()) is None else first.since

    def waiting_since(self) -> float | None:
        # At its own cap a permit is no use.
        return self.first_since() if self._empty and not self.paused else None

    def borrowers(self) -> set[Borrower]:
        return {waiter.borrower for waiter in self._queue.all()}

    def no_room(self) -> str:
        """What an error adds if the limit of the process is the reason."""
        return f" No room: {self._limiter}." if self.lacks_permit() else ""

    def can_serve(self) -> bool:
        """Whether somebody waits and there is an entry for that thread."""
        since = self.first_since()
        if since is None:
            return False
        return bool(self._idle) or (bool(self._empty) and self._limiter.has_room(since))

    def is_owed(self) -> bool:
        """Whether a thread of another pool has waited for a permit longer than any of this one."""
        own = self.first_since()
        other = self._limiter.first_since(apart_from=self)
        return other < (float("inf") if own is None else own)

    def sleep(self, waiter: Waiter, timeout: float, look: Callable[[Waiter], None]) -> None:
        """Return when *waiter* got an entry or was cancelled, or after *timeout* seconds.

        :param look: called at each look: repairs what may keep the waiter from being served.
        """
        limited = self._limiter.limit is not None
        deadline, left = time.monotonic() + timeout, timeout
        while True:
            if limited and self._empty and waiter.entry is None:
                self._limiter.make_room()
            pause = max(0.0, min(left, LOOK_AGAIN if limited else LOOK_RARELY))
            if self._queue.poller() is waiter:
                self._poll(waiter, pause)
            else:
                waiter.signal.acquire(timeout=pause)
            if waiter.is_waiting():
                look(waiter)
            if left <= 0 or not waiter.is_waiting():
                return
            left = deadline - time.monotonic()

    def _poll(self, waiter: Waiter, seconds: float) -> None:
        """Wait, and hand over connections that were returned or parked during a time slice."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if waiter.signal.acquire(timeout=max(0.0, min(left, POLL))) or left <= 0:
                return
            self.reclaim()
            if self._idle:
                self.serve()

    def idle_since(self) -> float | None:
        try:
            return self._idle[0].idle_since
        except IndexError:
            return None

    def close_idle(self) -> None:
        try:
            entry = self._idle.popleft()
        except IndexError:
            return
        entry.drop("process limit")
        self._put(entry)
