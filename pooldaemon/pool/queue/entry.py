"""One place under a pool's cap, with its connection and its counters."""

from __future__ import annotations

import logging
import os
import time
import weakref
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import _ConnectionRecord

from pooldaemon.pool.queue.borrowers import SHARED, Borrower
from pooldaemon.pool.queue.callsite import CallSite, describe, of_statement
from pooldaemon.pool.queue.lease import Affinity
from pooldaemon.pool.tokens import Token
from pooldaemon.stats import BOUNDS, Histogram

logger = logging.getLogger("pooldaemon.pool")


class Times:
    """A histogram being filled, by one thread at a time."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class EntryStats:
    """What has happened to one entry. Written by its holder alone, so without a lock."""

    __slots__ = ("connect", "discards", "resets", "use", "wait")

    def __init__(self) -> None:
        self.wait = Times()
        self.use = Times()
        self.connect = Times()
        self.discards: Counter[str] = Counter()
        self.resets = 0


def sum_times(times: Iterable[Times]) -> Histogram:
    known = list(times) or [Times()]
    counts = (sum(column) for column in zip(*(one.counts for one in known), strict=True))
    return Histogram(tuple(counts), sum(one.total for one in known))


class EntryRef(weakref.ref["PoolEntry"]):
    """How a pool and a borrower know an entry, without keeping it alive.

    :ivar stats: counters; they outlive the entry.
    :ivar session: the session that was opened for it and is not closed yet. If the entry is lost,
        the pool closes this session.
    """

    stats: EntryStats
    # Of the class, because the entry may die, which is reported, in the middle of __init__().
    session: object | None = None

    # By identity: a dead entry can't be asked for its hash.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __init__(self, entry: PoolEntry, callback: Callable[[Any], object]) -> None:
        super().__init__(entry, callback)  # type: ignore[call-arg]
        self.stats = EntryStats()


class PoolEntry(_ConnectionRecord):
    """A connection record of SQLAlchemy's, empty or with a connection.

    Whoever took it out of the pool's deques holds the only strong reference and is the only one to
    use it. So an entry that an exception has lost, at whatever line, dies at once.

    :param make_clean: resets a connection if its borrower left something; returns whether it did.
    :param put_back: returns the entry to its pool.
    :param report_orphan: called when the borrower's thread has ended without returning it.
    :param report_loss: called with :attr:`ref` when the entry has died. It has to be a function in
        C: see :mod:`pooldaemon.pool.tokens`.
    :param wake: called then, too, to wake a waiter. It may fail: waiters also look by themselves.
    :param affinity: the cache in which it is parked between two statements; ``None``: never.
    """

    # SQLAlchemy puts ``info`` into ``__dict__``. From then on the interpreter would look each of
    # these up by its name.
    __slots__ = (
        "_make_clean",
        "_put_back",
        "_second_ref",
        "affinity",
        "call_site",
        "deadline",
        "expires",
        "generation",
        "held_since",
        "holder",
        "idle_since",
        "leak_logged",
        "parked",
        "permit",
        "pid",
        "ref",
        "report_orphan",
        "since",
        "stats",
    )

    def __init__(
        self,
        pool: Pool,
        make_clean: Callable[[Any], bool],
        put_back: Callable[[Any], None],
        report_orphan: Callable[[EntryRef, Borrower], None],
        report_loss: Callable[[EntryRef], object],
        wake: Callable[[object], None],
        affinity: Affinity | None,
    ) -> None:
        super().__init__(pool, connect=False)
        self.pid = os.getpid()
        self._make_clean = make_clean
        self._put_back = put_back
        self.report_orphan = report_orphan
        self.affinity = affinity
        self._second_ref = weakref.ref(self, wake)  # called after the callback of self.ref
        self.ref = EntryRef(self, report_loss)
        self.stats = self.ref.stats
        self.generation: object = None
        """The pool's generation in which its connection was made; older ones are closed."""
        self.expires = 0.0
        """End of its connection's lifetime (monotonic clock, as all times here)."""
        self.idle_since = 0.0
        self.permit: Token | None = None
        """A permit of the process, for a connection that is about to be opened."""
        self.since = 0.0
        """When the borrower began to wait."""
        self.deadline = 0.0
        """Until when the borrower waits for the server to accept the connection."""
        self.holder: Borrower | None = None
        """The thread that has borrowed it. Until the return its ``entries`` contain this one."""
        self.held_since = 0.0
        self.call_site: CallSite | None = None
        """Where it was borrowed; ``None`` while the ORM runs one statement. See :meth:`where`."""
        self.parked = False
        """It is in the affinity cache: its holder does not need it between two statements."""
        self.leak_logged = False

    def where(self) -> str:
        """The call site at which it was borrowed, as text."""
        place, holder = self.call_site, self.holder
        if place is None and holder is not None:
            place = of_statement(holder.ident)
        return describe(place)

    def connect(self) -> None:
        """Open a connection; raises what the driver raises."""
        started = time.monotonic()
        self.get_connection()
        self.stats.connect.add(time.monotonic() - started)

    def drop(self, reason: str) -> None:
        """Close the connection, if there is one, and count why."""
        if self.dbapi_connection is not None:
            self.stats.discards[reason] += 1
            self.close()
            self.ref.session = None

    def claim_from(self, borrower: Borrower | None) -> bool:
        """Take it from its holder. ``False``: another thread was faster."""
        try:
            del borrower.entries[self.ref]  # type: ignore[union-attr]  # it has been lent
        except KeyError:
            return False
        return True

    def share(self) -> None:
        """Several threads use it from now on: the end of one thread does not end the borrow."""
        if self.claim_from(self.holder):
            self.holder = SHARED
            SHARED.entries[self.ref] = self.ref

    def return_connection(self) -> None:
        """The borrower is done with it."""
        try:
            del self.holder.entries[self.ref]  # type: ignore[union-attr]  # claim_from(), in place
        except KeyError:  # the pool has taken it from a thread that had ended
            return
        try:
            if self._make_clean(self.dbapi_connection):
                self.stats.resets += 1
        except Exception:
            logger.debug("Cleaning up a connection failed", exc_info=True)
            self.drop("reset failed")
        except BaseException:
            self.drop("reset failed")
            raise
        finally:
            self._put_back(self)

    def discard(self) -> None:
        """The borrower is done with it, and the connection is not to be used again."""
        if not self.claim_from(self.holder):
            return
        try:
            self.drop("set-up failed")
        finally:
            self._put_back(self)
