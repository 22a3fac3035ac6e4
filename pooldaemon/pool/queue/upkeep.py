"""Work of the pool's own on a connection that nobody uses just then."""

from __future__ import annotations

import _thread
import logging
import time
from collections.abc import Callable
from typing import Any

from pooldaemon.pool.queue.entry import PoolEntry
from pooldaemon.pool.tokens import POLL, Token, TokenLock

logger = logging.getLogger("pooldaemon.pool")

PATIENCE = 5.0
"""Seconds for which the end of such work is waited for before a fork. It takes milliseconds."""


class Upkeep:
    """One thread at most, for some milliseconds. Thread-safe.

    :param put_back: takes the entry back.
    """

    def __init__(self, put_back: Callable[[PoolEntry, bool], None]) -> None:
        self._put_back = put_back
        self._turn = TokenLock()

    def run(self, work: Callable[[Any], bool], entry: PoolEntry) -> bool:
        """Do *work* on the connection of *entry*, which returns whether there is more of it.
        ``False``: not now."""
        if (turn := self._turn.take()) is None:
            return False
        # Not a Thread of Python's: to start one takes locks, and the garbage collector, which may
        # give a connection back, may have come while its thread held them.
        try:
            _thread.start_new_thread(self._run, (work, entry, turn))
        except RuntimeError:  # there can be no more threads
            return False
        return True

    def _run(self, work: Callable[[Any], bool], entry: PoolEntry, turn: Token) -> None:
        more = False
        try:
            more = work(entry.dbapi_connection)
        except Exception:
            logger.debug("Work on an idle connection failed", exc_info=True)
        finally:
            self._put_back(entry, more)

    def wait(self) -> None:
        """Until nothing is being done. A thread at work would not survive a fork."""
        deadline = time.monotonic() + PATIENCE
        while self._turn.take() is None and time.monotonic() < deadline:
            time.sleep(POLL)
