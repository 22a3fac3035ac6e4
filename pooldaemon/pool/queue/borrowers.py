"""Which thread has borrowed what, and whether that thread is still there.

A thread that ends without giving back leaves its connection to a reference cycle of Django's,
which only the cyclic garbage collector takes apart, sometime. So every thread that borrows carries
a mark among its thread-locals. The interpreter deletes these in the moment a thread ends, whoever
started it, and the pools hear of it at once.
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
    """A thread, as those who borrow are known to a pool.

    :param name: the thread's when it first borrowed, for after its end.
    :ivar ident: the thread's, while it runs.
    :ivar entries: what it holds, of every pool: references that keep nothing alive, each under
        itself. Removing one here is how an entry is claimed for its return: that is atomic, and
        succeeds for one only.
    """

    __slots__ = ("entries", "ident", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ident = threading.get_ident()
        self.entries: dict[Callable[[], Any], Any] = {}

    def held(self) -> list[Entry]:
        """The entries that it holds."""
        return [entry for ref in self.entries.copy() if (entry := ref()) is not None]

    def forget_lost(self) -> None:
        """Those that an exception has lost are among the others no more."""
        for ref in self.entries.copy():
            if ref() is None:
                self.entries.pop(ref, None)


class _Mark:
    """Dies with its thread."""

    __slots__ = ("_borrower",)

    def __init__(self, borrower: Borrower) -> None:
        self._borrower = borrower

    # Bound here: at the end of the interpreter, modules are emptied before threads' locals are.
    def __del__(
        self,
        getpid: Callable[[], int] = os.getpid,
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        # In a forked child the parent's other threads "end" too, before any hook runs there.
        if is_finalizing():
            return
        borrower: Borrower | None = getattr(self, "_borrower", None)
        if borrower is None:  # its making was broken off
            return
        pid = getpid()
        for entry in borrower.held():
            if entry.pid == pid and not entry.parked:  # whoever needs it finds that one by itself
                entry.report_orphan(entry.ref, borrower)


class _Thread(threading.local):
    def __init__(self) -> None:
        self.borrower = Borrower(threading.current_thread().name)
        self._mark = _Mark(self.borrower)


here = _Thread()
"""``here.borrower`` is the calling thread's."""

SHARED = Borrower("several threads")
"""Owns what threads share on purpose (Django's ``inc_thread_sharing()``), and never ends."""


def _forget_all() -> None:
    SHARED.entries.clear()
    here.borrower.entries.clear()


# What the forking thread had borrowed is the parent's.
fork_safety.at_start_of_child(_forget_all)
