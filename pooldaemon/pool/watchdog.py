"""A bound for what is sent to a server that may not answer.

The driver has none: a ping, a rollback or a reset waits for as long as the network is silent, and
``read_timeout`` would end long queries, too. So one thread of the process watches such calls, and
shuts the socket down under one that takes too long. The call then fails, and costs the connection
instead of the thread.

Whether a call has come back or has been ended is decided by who takes it out of a dict, which is
atomic: so a socket is never shut down under a connection that has been lent again.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from pooldaemon.pool import fork_safety
from pooldaemon.pool.tokens import TokenLock

TICK = 0.25
"""Seconds between looks. Bounds are counted in them, not by a clock: after a process was stopped
for an hour, what it was waiting for may have come."""

QUIET_TICKS = 4
"""Without a call for so long, the thread ends."""

END_WAIT = 1.0
"""Seconds to wait for its end, which takes none."""


class Connection(Protocol):
    watch: int
    broken: bool
    lost: bool


class Watchdog:
    """Watches calls on connections, one at a time on each. Thread-safe; never waits for a call."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all: in a forked child the calls are the parent's, and the thread is not there."""
        self._calls: dict[Connection, int] = {}
        """Those under way, with the look at which each is ended."""
        self._looks = 0
        self._was_used = False
        self._turn = TokenLock()
        """A lock that an exception can't leave locked, and the collector may ask for again."""
        self._thread: threading.Thread | None = None
        self._is_running = False
        self._stop = threading.Event()

    @contextmanager
    def bound(
        self, connection: Connection, seconds: float, *, needed: bool = True
    ) -> Iterator[None]:
        """Let what the block sends take so many *seconds*, up to a quarter of a second less.

        After that the socket is shut down, and the connection is ``broken`` and ``lost``. A block
        inside another one has that one's bound.

        :param needed: whether to do without the block, rather than without a bound.
        :raises RuntimeError: it is needed, and no thread can be started.
        """
        if connection in self._calls:
            yield
            return
        try:
            self._calls[connection] = self._looks + max(1, int(seconds / TICK))
            self._was_used = True
            if not self._is_running:
                self._try_to_start(needed=needed)
            yield
        finally:
            if self._calls.pop(connection, None) is None:
                # Until the socket has been shut down: it is not to be closed yet.
                turn = self._turn.wait()
                connection.broken = connection.lost = True
                del turn

    def stop_if_unused(self) -> None:
        """End the thread now, rather than when it has been quiet for a while: a fork may follow."""
        thread = self._thread
        if thread is not None and not self._calls and thread is not threading.current_thread():
            self._stop.set()
            with suppress(RuntimeError):  # it is about to be started
                thread.join(END_WAIT)

    def go_on(self) -> None:
        """After a fork: a call may have begun while the thread was ending."""
        if self._calls and not self._is_running:
            self._try_to_start(needed=False)

    def forget(self, connection: Connection) -> None:
        """Before its socket is closed, whatever an exception has left of a bound."""
        if self._calls.pop(connection, None) is None:
            self._turn.wait()  # it may be about to be shut down

    def _try_to_start(self, *, needed: bool) -> None:
        try:
            self._start()
        except RuntimeError:
            if needed:
                raise

    def _start(self) -> None:
        turn = self._turn.wait()
        try:
            if self._is_running:
                return
            if self._thread is not None:
                raise RuntimeError("the watchdog is being started further up this very stack")
            self._stop.clear()
            thread = threading.Thread(target=self._run, name="pool-watchdog", daemon=True)
            try:
                self._thread = thread
                thread.start()
                self._is_running = True
            except BaseException:
                self._thread = None  # one that was started all the same sees this, and ends
                raise
        finally:
            del turn

    def _run(self) -> None:
        quiet = 0
        while self._thread is threading.current_thread():
            self._stop.wait(TICK)
            self._look()
            quiet = 0 if self._was_used else quiet + 1
            self._was_used = False
            # A child forked by a thread ends with it, if no other thread is left.
            over = self._stop.is_set() or not threading.main_thread().is_alive()
            if (over or quiet > QUIET_TICKS) and self._end():
                return

    def _look(self) -> None:
        self._looks = now = self._looks + 1
        for connection, end in list(self._calls.items()):
            if end <= now:
                turn = self._turn.wait()
                if self._calls.pop(connection, None) is not None:
                    shut_down(connection.watch)
                del turn

    def _end(self) -> bool:
        turn = self._turn.wait()
        try:
            self._stop.clear()
            self._is_running = False
            if self._calls:  # begun before it could be seen that nobody watches
                self._is_running = True
                return False
            self._thread = None
            return True
        finally:
            del turn


def shut_down(descriptor: int) -> None:
    """End whatever is waited for on a socket."""
    # Not by a duplicate: there may be no free descriptor. Whose connection it is waits for us.
    with suppress(OSError):
        peer = socket.socket(fileno=descriptor)
        try:
            peer.shutdown(socket.SHUT_RDWR)
        finally:
            peer.detach()


watchdog = Watchdog()
fork_safety.at_start_of_child(watchdog.begin_anew)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=watchdog.stop_if_unused, after_in_parent=watchdog.go_on)
