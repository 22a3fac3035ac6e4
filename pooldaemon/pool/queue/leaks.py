"""Logs connections that were held for longer than ``leak_threshold``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pooldaemon.pool.queue.entry import PoolEntry
from pooldaemon.pool.tokens import TokenLock

logger = logging.getLogger("pooldaemon.pool")

LOOKS = 4
"""Looks per threshold: a leak is logged at most a quarter of the threshold late."""


class _Pool(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def entries(self) -> Sequence[PoolEntry]: ...


class LeakWatch:
    """Logs each borrow that lasts longer than *threshold* seconds, and its end.

    :param last_statement: the last statement of a connection, without its data.

    A thread of its own looks, since all others may be stuck. It exists only while connections are
    in use. Thread-safe.
    """

    def __init__(self, threshold: float, pool: _Pool, last_statement: Callable[[Any], str]) -> None:
        self._threshold = threshold
        self._pool = pool
        self._last_statement = last_statement
        self._starting = TokenLock()
        self._thread: threading.Thread | None = None
        self._look_now = threading.Event()
        self._told_of_failure = False

    def watch(self) -> None:
        """A connection was borrowed."""
        if self._thread is None and (token := self._starting.take()) is not None:
            thread = threading.Thread(
                target=self._run, name=f"leak-watch {self._pool.name}", daemon=True
            )
            try:
                if self._thread is None:
                    self._thread = thread
                    thread.start()
            except BaseException as error:  # the next borrow tries again
                self._thread = None  # if it was started all the same, it sees this and ends
                if not isinstance(error, RuntimeError):
                    raise
                self._tell_of_failure(error)
            finally:
                del token

    def _tell_of_failure(self, error: RuntimeError) -> None:
        if not self._told_of_failure:
            self._told_of_failure = True
            logger.warning(
                "pool %s: leak_threshold has no effect as long as no thread can be started: %s",
                self._pool.name,
                error,
            )

    def stop_if_unused(self) -> None:
        """If nothing is in use, end the thread now instead of at its next look."""
        thread = self._thread
        if thread is not None and not self._in_use():
            self._look_now.set()
            thread.join(self._threshold)

    def returned(self, entry: PoolEntry, now: float) -> None:
        """Called when *entry* is returned, while it still has its holder."""
        if entry.leak_logged:
            entry.leak_logged = False
            logger.warning(
                "pool %s: the connection that %s borrowed at %s was returned after %.1f s",
                self._pool.name,
                entry.holder and entry.holder.name,
                entry.where(),
                now - entry.held_since,
            )

    def _in_use(self) -> list[PoolEntry]:
        return [entry for entry in self._pool.entries if entry.holder is not None]

    def _run(self) -> None:
        while self._thread is threading.current_thread():
            self._look_now.wait(self._threshold / LOOKS)
            self._look_now.clear()
            for entry in self._in_use():
                self._look_at(entry, time.monotonic())
            if not self._in_use():
                self._thread = None
                # A thread that borrowed just now may have seen the watch running.
                if not self._in_use() or self._thread is not None:
                    return
                self._thread = threading.current_thread()

    def _look_at(self, entry: PoolEntry, now: float) -> None:
        holder, held = entry.holder, now - entry.held_since
        if holder is None or entry.leak_logged or held < self._threshold:
            return
        entry.leak_logged = True
        logger.warning(
            "pool %s: %s has held a connection for %.1f s (leak_threshold=%g), borrowed at %s; "
            "last statement: %s",
            self._pool.name,
            holder.name,
            held,
            self._threshold,
            entry.where(),
            self._last_statement(entry.dbapi_connection) or "none",
        )
