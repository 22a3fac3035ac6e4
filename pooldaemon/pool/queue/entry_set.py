"""The entries of a pool: as many as its cap, even if exceptions or ended threads lose some."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from pooldaemon.pool.queue.borrowers import Borrower
from pooldaemon.pool.queue.driver import Driver
from pooldaemon.pool.queue.entry import EntryRef, EntryStats, PoolEntry
from pooldaemon.pool.tokens import TokenLock

logger = logging.getLogger("pooldaemon.pool")

Make = Callable[[Callable[[EntryRef, Borrower], None], Callable[[EntryRef], None]], PoolEntry]


class EntrySet:
    """Knows every entry of one pool by a weak reference, wherever the entry is. Thread-safe.

    An entry that is lost dies, and its death is noted here; so is the end of a thread that holds
    one. :meth:`adjust` then closes their connections and makes other entries.

    :param name: the pool's, for messages.
    :param cap: how many entries there are to be.
    :param make: makes an empty entry, which reports to these two functions: that its thread has
        ended, and that it has died.
    :param put: takes a new entry into the pool.
    :param wake: called when a thread has ended, so that somebody calls :meth:`adjust`.
    """

    def __init__(
        self,
        name: str,
        cap: int,
        sessions: Driver,
        *,
        make: Make,
        put: Callable[[PoolEntry], None],
        wake: Callable[[object], None],
    ) -> None:
        self._name = name
        self.cap = cap
        self._sessions = sessions
        self._make = make
        self._put = put
        self._wake = wake
        self.surplus = False
        """There are more entries than the cap since it was made smaller."""
        self.dropped: list[EntryStats] = []
        """What happened to entries that are no more."""
        self._adjusting = TokenLock()
        """Held by whoever changes how many entries there are."""
        self._refs: dict[EntryRef, None] = {}
        self._orphans: deque[tuple[EntryRef, Borrower]] = deque()
        self.lost: deque[EntryRef] = deque()
        """Entries that have died."""

    def __len__(self) -> int:
        return len(self._refs)

    def all(self) -> tuple[PoolEntry, ...]:
        return tuple(entry for ref in self._refs.copy() if (entry := ref()) is not None)

    def add(self) -> PoolEntry:
        entry = self._make(self._take_in_orphan, self.lost.append)
        self._refs[entry.ref] = None
        return entry

    def _take_in_orphan(self, ref: EntryRef, borrower: Borrower) -> None:
        # Runs in the last moment of a thread: nothing here may take long.
        self._orphans.append((ref, borrower))
        self._wake(None)

    @property
    def needs_adjusting(self) -> bool:
        """Whether an entry is lost, or there are more or fewer than the cap."""
        return bool(self._orphans or self.lost) or len(self._refs) != self.cap

    def adjust(self) -> None:
        """Replace lost entries, so that there are as many entries as the cap."""
        if (token := self._adjusting.take()) is None:
            return
        try:
            while self._orphans:
                ref, borrower = self._orphans[0]
                # Unless it was returned meanwhile. In one step, which no exception can split.
                with suppress(KeyError):
                    self.lost.extend(map(borrower.entries.pop, (ref,)))
                self._orphans.popleft()
            while self.lost:
                lost = self.lost[0]  # it stays there until it is dealt with
                self._reap(lost)
                self.lost.popleft()
            added = [self.add() for _ in range(len(self._refs), self.cap)]
            self.surplus = len(self._refs) > self.cap
        finally:
            del token
        while added:
            self._put(added.pop())

    def drop_surplus(self, entry: PoolEntry) -> bool:
        """Take *entry* out of the pool, if there are still too many."""
        # The lock is not waited for: an entry that stays is dropped at its next return.
        if (token := self._adjusting.take()) is None:
            return False
        try:
            if len(self._refs) > self.cap:
                self.dropped.append(entry.stats)
                self._refs.pop(entry.ref, None)
            self.surplus = len(self._refs) > self.cap
        finally:
            del token
        if entry.ref in self._refs:
            return False
        entry.drop("resized")
        return True

    def close_session(self, ref: EntryRef, reason: str) -> None:
        """Close the session that was opened for an entry, whether it got there or not."""
        if (session := ref.session) is not None:
            ref.stats.discards[reason] += 1
            try:
                self._sessions.close_session(session)
            except Exception:
                logger.debug("Closing a connection failed", exc_info=True)
            ref.session = None

    def _reap(self, lost: EntryRef) -> None:
        """Close the connection of an entry that was lost, or whose thread has ended.

        The lease of an ended thread still points at its entry, so that entry is not used again.
        """
        if (orphan := lost()) is not None:
            self._report_orphan(orphan)
        self.close_session(lost, "lost" if orphan is None else "thread ended")
        if lost in self._refs:  # else it was surplus
            self.dropped.append(lost.stats)
            self._refs.pop(lost, None)

    def _report_orphan(self, orphan: PoolEntry) -> None:
        held = time.monotonic() - orphan.held_since
        orphan.stats.use.add(held)
        logger.warning(
            "pool %s: the thread %s has ended without returning the connection that it borrowed "
            "at %s %.1f s ago. The connection is closed and its transaction rolled back. "
            "auto_close_db returns connections in time.",
            self._name,
            orphan.holder and orphan.holder.name,
            orphan.where(),
            held,
        )
