"""A time limit for calls to a server that may not answer.

The driver has none: a ping, a rollback or a reset waits as long as the network is silent, and
``read_timeout`` would end long queries too. So one thread of the process watches such calls and
shuts the socket down if one takes too long. The call then fails, which costs the connection and not
the calling thread.

A call under way is in a dict. Whoever takes it out, which is atomic, decides whether it has come
back or is ended. So a socket is never shut down under a connection that has been lent again.
"""

from __future__ import annotations

import os
import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from pooldaemon.pool import fork_safety
from pooldaemon.pool.tokens import TokenLock

TICK = 0.25
"""Seconds between looks. Limits are counted in looks and not by a clock: while a process was
stopped
for an hour, the answers may have arrived."""

QUIET_TICKS = 4
"""Looks without any call after which the thread ends."""

END_WAIT = 1.0
"""Seconds to wait for the thread's end, which is usually immediate."""


class Connection(Protocol):
    watch: int
    broken: bool
    lost: bool


class _Mark:
    """Dies with the thread among whose thread-locals it is."""

    __slots__ = ("__weakref__",)


class Watchdog:
    """Watches calls on connections, one at a time on each. Thread-safe. Never waits for a call."""

    def __init__(self) -> None:
        self._forker: weakref.ref[_Mark] | None = None
        """In a forked child; it dies with the thread that has forked."""
        self._begin()

    def begin_in_child(self) -> None:
        """Forget everything: in a forked child the calls are the parent's and there is no
        thread."""
        # Not Thread.is_alive(): since Python 3.13 it joins a thread that is ending, and with
        # glibc 2.43 nobody can join the thread that has forked: in the child that waits for ever.
        self._marks = threading.local()
        self._marks.mark = _Mark()
        self._forker = weakref.ref(self._marks.mark)
        self._begin()

    def _begin(self) -> None:
        self._calls: dict[Connection, int] = {}
        """The calls under way, with the number of the look at which each is ended."""
        self._looks = 0
        self._was_used = False
        self._turn = TokenLock()
        """Held by the thread that starts or ends the watching one, or shuts a socket down."""
        self._thread: threading.Thread | None = None
        self._is_running = False
        self._stop = threading.Event()

    @contextmanager
    def bound(
        self, connection: Connection, seconds: float, *, needed: bool = True
    ) -> Iterator[None]:
        """Limit the block's calls on *connection* to *seconds* (or up to a quarter of one less).

        After that the socket is shut down, and the connection is ``broken`` and ``lost``. A block
        inside another one has the limit of the outer one.

        :param needed: whether the block must not run without a limit.
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
                # Wait until the socket has been shut down: it must not be closed before.
                turn = self._turn.wait()
                connection.broken = connection.lost = True
                del turn

    def stop_if_unused(self) -> None:
        """End the thread now instead of after some quiet looks: a fork may follow."""
        thread = self._thread
        if thread is not None and not self._calls and thread is not threading.current_thread():
            self._stop.set()
            with suppress(RuntimeError):  # it is about to be started
                thread.join(END_WAIT)

    def go_on(self) -> None:
        """After a fork, in the parent: a call may have begun while the thread was ending."""
        if self._calls and not self._is_running:
            self._try_to_start(needed=False)

    def forget(self, connection: Connection) -> None:
        """To be called before its socket is closed: ends a limit that an exception has left."""
        if self._calls.pop(connection, None) is None:
            self._turn.wait()  # the socket may be about to be shut down

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
                self._thread = None  # if it was started all the same, it sees this and ends
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
            # A child that a thread has forked ends with that thread, if no other is left.
            over = self._stop.is_set() or self._has_forker_ended()
            if (over or quiet > QUIET_TICKS) and self._end():
                return

    def _has_forker_ended(self) -> bool:
        return self._forker is not None and self._forker() is None

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
            if self._calls:  # begun before others could see that nobody watches
                self._is_running = True
                return False
            self._thread = None
            return True
        finally:
            del turn


def shut_down(descriptor: int) -> None:
    """Shut a socket down, so that every wait on it ends."""
    # Not on a duplicate: there may be no free descriptor. The connection's user waits for us.
    with suppress(OSError):
        peer = socket.socket(fileno=descriptor)
        try:
            peer.shutdown(socket.SHUT_RDWR)
        finally:
            peer.detach()


watchdog = Watchdog()
fork_safety.at_start_of_child(watchdog.begin_in_child)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=watchdog.stop_if_unused, after_in_parent=watchdog.go_on)
