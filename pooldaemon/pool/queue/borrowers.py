"""The threads that borrow, what they hold, and what happens when one ends.

A thread that ends without returning its connection leaves it in a reference cycle of Django's which
the garbage collector may find much later. So every thread that borrows has a marker object among
its thread-locals. The interpreter deletes thread-locals when a thread ends, whoever started the
thread, and the marker's deletion notifies the pools at once.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from pooldaemon.pool import fork_safety


class Entry(Protocol):
    """What is looked at of a pool entry that a thread holds."""

    pid: int
    parked: bool
    ref: Any

    def report_orphan(self, ref: Any, borrower: Borrower, /) -> None: ...


class Borrower:
    """A thread that borrows.

    :param name: the thread's name when it first borrowed, for messages after its end.
    :ivar ident: the thread's identifier, while it runs.
    :ivar entries: weak references to the entries of all pools that it holds, each under itself.
        Removing one here claims the entry for its return: that is atomic and succeeds once.
    :ivar time_slice: what stands for a pool, and until when (monotonic clock) the thread goes
        before those who wait there: see :mod:`~pooldaemon.pool.queue.time_slices`.
    """

    __slots__ = ("entries", "ident", "name", "time_slice")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ident = threading.get_ident()
        self.entries: dict[Callable[[], Any], Any] = {}
        self.time_slice: tuple[object, float] = (None, 0.0)

    def held(self) -> list[Entry]:
        """The entries that it holds."""
        return [entry for ref in self.entries.copy() if (entry := ref()) is not None]

    def forget_lost(self) -> None:
        """Remove the references to entries that an exception has lost."""
        for ref in self.entries.copy():
            if ref() is None:
                self.entries.pop(ref, None)


class _Mark:
    """Dies with its thread."""

    __slots__ = ("_borrower",)

    def __init__(self, borrower: Borrower) -> None:
        self._borrower = borrower

    # Default arguments, because at the interpreter's end modules are emptied before thread-locals.
    def __del__(
        self,
        getpid: Callable[[], int] = os.getpid,
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        # In a forked child the parent's other threads "end" too, before any hook runs.
        if is_finalizing():
            return
        borrower: Borrower | None = getattr(self, "_borrower", None)
        if borrower is None:  # an exception interrupted __init__()
            return
        pid = getpid()
        for entry in borrower.held():
            if (
                entry.pid == pid and not entry.parked
            ):  # a parked one is called in by whoever needs it
                entry.report_orphan(entry.ref, borrower)


class _Thread(threading.local):
    def __init__(self) -> None:
        self.borrower = Borrower(threading.current_thread().name)
        self._mark = _Mark(self.borrower)


here = _Thread()
"""``here.borrower`` is the calling thread's."""

SHARED = Borrower("several threads")
"""Holds what threads share on purpose (Django's ``inc_thread_sharing()``). It never ends."""


def _forget_all() -> None:
    SHARED.entries.clear()
    here.borrower.entries.clear()


# What the forking thread had borrowed belongs to the parent.
fork_safety.at_start_of_child(_forget_all)
