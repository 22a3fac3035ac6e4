"""The pool's own work on a connection that nobody uses at the moment."""

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
"""Seconds to wait for the end of such work before a fork. It usually takes milliseconds."""


class Upkeep:
    """Runs such work in at most one thread, for some milliseconds. Thread-safe.

    :param put_back: takes the entry back.
    """

    def __init__(self, put_back: Callable[[PoolEntry, bool], None]) -> None:
        self._put_back = put_back
        self._turn = TokenLock()

    def run(self, work: Callable[[Any], bool], entry: PoolEntry) -> bool:
        """Do *work* on the connection of *entry*; *work* returns whether there is more to do.

        Returns ``False`` if nothing was begun: other work is under way, or no thread can start.
        """
        if (turn := self._turn.take()) is None:
            return False
        # Not threading.Thread: starting one takes locks. A return may happen inside the garbage
        # collector, in a thread that holds them.
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

    def wait(self, patience: float = PATIENCE) -> None:
        """Wait until no work is under way, for *patience* seconds at most."""
        deadline = time.monotonic() + patience
        while self._turn.take() is None and time.monotonic() < deadline:
            time.sleep(POLL)
