"""Where a pool's slots lie, how many there are, and what becomes of those that nobody uses."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy.pool import Pool

from pooldaemon.pool.counters import SlotStats
from pooldaemon.pool.dialect import DriverDialect
from pooldaemon.pool.owners import Owner
from pooldaemon.pool.parking import Parking
from pooldaemon.pool.share import Waiter
from pooldaemon.pool.slot import Slot

logger = logging.getLogger("pooldaemon.pool")

DEFAULT_POOL_SIZE = 10

SWEEP_INTERVAL = 1.0
"""Seconds between looks for connections that have been idle for too long."""


class SlotPool(Pool):
    """Holds exactly *cap* slots, each one of SQLAlchemy's connection records.

    A slot is in one place at a time: idle (with a live connection), empty, with a borrower, or
    orphaned, when its borrower, a thread, has ended without giving back.

    Idle, empty and orphaned slots lie in deques, whose ``append`` and ``pop`` are atomic. So the
    usual borrow and return take no lock, and a return is safe wherever it happens: the garbage
    collector may give back a lost connection at any line of any thread, also of one that holds
    the lock. Nothing connects, pings or closes under it.
    """

    def __init__(
        self,
        creator: Any,
        dialect: DriverDialect,
        *,
        pool_size: int,
        max_overflow: int,
        use_lifo: bool,
        max_idle: float,
        min_idle: int,
        parks: bool,
        **kw: Any,
    ) -> None:
        super().__init__(creator, dialect=dialect, **kw)  # type: ignore[arg-type]
        self._make_clean = dialect.reset
        self._sessions = dialect
        self._budget = dialect.budget
        self._claims = dialect.budget.queue
        self.cap = dialect.cap = pool_size + max_overflow
        self._keep = pool_size
        self._max_idle = max_idle
        self.min_idle = min(min_idle, self.cap)
        self._generation = 0
        self._next_sweep = 0.0
        self._surplus = 0
        """Slots in use that are above the cap since it was made smaller."""
        self._dropped: list[SlotStats] = []
        """What happened to slots that are no more."""
        self._lock = threading.Lock()
        self._waiters: deque[Waiter] = deque()
        self._parking = Parking(dialect.is_alive, self._waiters, self._claims)
        self._parks = parks
        self._slots = [self._new_slot() for _ in range(self.cap)]
        self._idle: deque[Slot] = deque()  # the longest idle one is on the left
        self._empty = deque(self._slots)
        self._orphans: deque[tuple[Slot, Owner]] = deque()
        self._take_idle = self._idle.pop if use_lifo else self._idle.popleft

    def _new_slot(self) -> Slot:
        parking = self._parking if self._parks else None
        return Slot(self, self._make_clean, self._do_return_conn, self._take_in_orphan, parking)

    def _hand_over(self) -> None:
        """Give free slots to those who wait."""
        raise NotImplementedError

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock, and then do what a return that met it held could not do."""
        try:
            with self._lock:
                yield
        finally:
            self._hand_over()

    @property
    def last_used(self) -> float:
        """When a connection was last lent or taken back (monotonic clock)."""
        return max(max(slot.held_since, slot.idle_since) for slot in self.slots)

    @property
    def slots(self) -> Sequence[Slot]:
        return tuple(self._slots)

    @property
    def name(self) -> str:
        return self._orig_logging_name or hex(id(self))

    # -- taking and putting -----------------------------------------------------------

    def _take(self, since: float) -> Slot | None:
        """A free slot, rather one with a connection. One that has a holder is an orphan.

        :param since: when the borrower began to wait; it decides who gets the next permit.
        """
        try:
            return self._take_idle()
        except IndexError:
            return self._take_empty(since) or self._take_orphan()

    def _take_empty(self, since: float) -> Slot | None:
        """A slot without a connection, and with a permit to open one."""
        if not self._empty or not self._budget.take(since):
            return None
        try:
            slot = self._empty.popleft()
        except IndexError:  # another thread was quicker
            self._budget.release()
            return None
        slot.permit = True
        return slot

    def _return_permit(self, slot: Slot) -> None:
        """No connection will be opened."""
        if slot.permit:
            slot.permit = False
            self._budget.release()

    def _put(self, slot: Slot) -> None:
        if self._surplus and self._drop(slot):
            return
        (self._empty if slot.dbapi_connection is None else self._idle).append(slot)
        if self._waiters:
            self._hand_over()

    # -- threads that ended without giving back ---------------------------------------

    def _take_in_orphan(self, slot: Slot, owner: Owner) -> None:
        # In the last moment of its thread: nothing that takes long, and no lock is waited for.
        if not self._parking.give_back(slot.parked):
            self._orphans.append((slot, owner))
            self._hand_over()

    def _take_orphan(self) -> Slot | None:
        while self._orphans:
            try:
                slot, owner = self._orphans.popleft()
            except IndexError:
                return None
            if slot.claim_from(owner):  # unless the garbage collector has given it back meanwhile
                return slot
        return None

    def _reclaim(self) -> None:
        self._parking.call_in()
        while (orphan := self._take_orphan()) is not None:
            self._put(self._replace(orphan))

    def _replace(self, orphan: Slot) -> Slot:
        """Close the connection that a thread has left; an empty slot in place of its own.

        Its handle still points at the old slot, and must not give back what is another's then.
        """
        held = time.monotonic() - orphan.held_since
        slot = self._new_slot()
        slot.stats = orphan.stats
        slot.stats.use.add(held)
        with self._locked():
            self._slots[self._slots.index(orphan)] = slot
        logger.warning(
            "pool %s: the thread %s has ended without giving back the connection that it borrowed "
            "at %s %.1f s ago. The connection is closed and its transaction rolled back. "
            "auto_close_db gives back in time.",
            self.name,
            orphan.holder and orphan.holder.name,
            orphan.where(),
            held,
        )
        orphan.drop("owner ended")
        return slot

    # -- closing and resizing ---------------------------------------------------------

    def dispose(self) -> None:
        """Close idle connections now, and those in use when they come back.

        The slots and the queue stay, so that the cap holds while old connections are out.
        """
        with self._locked():
            self._generation += 1
        self._reclaim()
        self._sweep(time.monotonic())

    def resize(self, pool_size: int, max_overflow: int = 0) -> None:
        """Change the cap. A smaller one holds as soon as connections in use have come back."""
        with self._locked():
            change = pool_size + max_overflow - self.cap
            self.cap += change
            self._sessions.cap = self.cap
            self._keep = pool_size
            revived = min(self._surplus, max(change, 0))
            self._surplus += max(-change, 0) - revived
            added = [self._new_slot() for _ in range(change - revived)]
            self._slots += added
        for slot in added:
            self._put(slot)
        self._parking.call_in()
        while self._surplus and (free := self._take_surplus()) is not None:
            self._put(free)

    def _take_surplus(self) -> Slot | None:
        """A free slot, rather an empty one, for dropping."""
        for slots in (self._empty, self._idle):
            try:
                return slots.popleft()
            except IndexError:
                continue
        return None

    def _drop(self, slot: Slot) -> bool:
        """Take *slot* out of the pool, if there are still too many."""
        slot.drop("resized")
        # Not waited for, see _hand_over(): a slot that stays is dropped at its next return.
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if not self._surplus:
                return False
            self._surplus -= 1
            self._slots.remove(slot)
            self._dropped.append(slot.stats)
            return True
        finally:
            self._lock.release()
            self._hand_over()

    def _sweep(self, now: float) -> None:
        """Close what has been idle for too long, or was made before the pool was closed."""
        while self._idle:
            try:
                if self._reason_to_sweep(self._idle[0], now) is None:
                    return
                slot = self._idle.popleft()
            except IndexError:
                return
            # Another thread may have taken the one we looked at: look again.
            if reason := self._reason_to_sweep(slot, now):
                slot.drop(reason)
            self._put(slot)

    def _reason_to_sweep(self, slot: Slot, now: float) -> str | None:
        if slot.generation != self._generation:
            return "pool closed"
        if 0 <= self._max_idle < now - slot.idle_since and len(self._idle) > self.min_idle:
            return "idle"
        return None
