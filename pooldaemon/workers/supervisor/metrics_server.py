"""Runs in the parent: keeps the process alive that answers for the daemon's metrics."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pooldaemon.backoff import Backoff

logger = logging.getLogger("pooldaemon.supervisor")

DELAYS = 0.5, 30.0
"""First and longest delay, in seconds, before it is started again."""

GOOD_LIFE = 60.0
"""Seconds after which a death is no longer counted with those before."""

Serve = Callable[[socket.socket, int], int]

Fork = Callable[[Callable[[int], int]], int]
"""Forks a process that does what it is given, with its parent-death pipe's descriptor; returns its
pid."""


class MetricsServer:
    """Main thread only.

    :param listener: bound and listening; the owner's to close. The supervisor keeps it, so that
        whoever asks while the process is started again waits instead of being refused.
    :param serve: runs in the process, with the listener and the descriptor of its
        parent-death pipe.
    """

    def __init__(self, listener: socket.socket, serve: Serve) -> None:
        self._listener = listener
        self._serve = serve
        self.pid: int | None = None
        self._deaths = 0
        self._started = 0.0
        self._next_start = 0.0
        self._backoff = Backoff(*DELAYS)

    def look(self, fork: Fork, now: float) -> None:
        """Start it if it does not run. Never blocks.

        :raises OSError: there is no process or no descriptor for it just now.
        """
        if self.pid is not None and (status := self._reap(self.pid)) is not None:
            self._note_death(self.pid, status, now)
        if self.pid is None and now >= self._next_start:
            # In the child the listener itself is closed with all else that is the supervisor's.
            with self._listener.dup() as listener:
                self.pid = fork(lambda parent_death_pipe: self._serve(listener, parent_death_pipe))
            self._started = now

    def _reap(self, pid: int) -> int | None:
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # somebody else has collected it
            return 0
        return os.waitstatus_to_exitcode(status) if ended else None

    def _note_death(self, pid: int, status: int, now: float) -> None:
        self.pid = None
        self._deaths += 1
        if now - self._started >= GOOD_LIFE:
            self._backoff.reset()
        delay = self._backoff.next_delay()
        self._next_start = now + delay
        logger.error(
            "The metrics exporter (pid %d) has ended with %d; another one starts in %.1f s",
            *(pid, status, delay),
        )

    @property
    def descriptor(self) -> int:
        return self._listener.fileno()

    def describe(self) -> dict[str, Any]:
        host, port = self._listener.getsockname()[:2]
        return {"address": join_address(host, port), "pid": self.pid, "deaths": self._deaths}

    def end(self) -> None:
        """End the process and wait for it."""
        if self.pid is not None:
            # Our own child, not reaped: the pid is its. Stopped, it would not die of TERM.
            with suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            self.pid = None

    def release(self) -> None:
        """In a forked child, and when all is over."""
        self._listener.close()

    def hand_over(self) -> dict[str, Any]:
        """What the next supervisor has to know, as JSON takes it. See :meth:`take_over`."""
        return {"pid": self.pid, "deaths": self._deaths}

    def take_over(self, state: dict[str, Any]) -> None:
        """Go on where the last supervisor, in this same process, has stopped: with new code."""
        self.pid, self._deaths = state["pid"], state["deaths"]
        self.end()


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
