"""Runs in the parent: signs of life for those who watch the daemon, systemd and Kubernetes.

They are given from the main loop only, and only while workers live: a supervisor that hangs, or
that has nobody to supervise, must not look healthy.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pooldaemon.workers.process.files import open_file

logger = logging.getLogger("pooldaemon.supervisor")

STOP_MARGIN = 15
"""Seconds beyond the timeouts: for hooks of the supervisor, and for what is ended on the server."""

START_STEP = 10
"""Seconds for which a start that goes on is prolonged in every round."""


MOST_UNSENT = 100
"""Messages that wait for systemd to take them; then the oldest are dropped."""


class Health:
    """
    :param variables: the environment: systemd says there where to send its messages
        (``NOTIFY_SOCKET``), and how often it wants to hear (``WATCHDOG_USEC``).
    :param health_file: its modification time is set at every sign of life; ``None``: no file.
    """

    def __init__(self, variables: Mapping[str, str], health_file: str | None = None) -> None:
        address = variables.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._health_file = Path(health_file).absolute() if health_file else None
        self._watchdog = variables.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._period = variables.get("WATCHDOG_USEC", "") if self._watchdog else ""
        self._is_ready = False
        self._status = ""
        self._socket: socket.socket | None = None
        self._unsent: deque[str] = deque(maxlen=MOST_UNSENT)
        self._touched = True

    def begin(self) -> None:
        """The daemon starts: a file that another one has left would tell that somebody works."""
        self.end()

    def go_on(self) -> None:
        """The daemon is no new one: it has been ready."""
        self._is_ready = True

    def ready(self) -> None:
        """All workers are ready, at the start or after a reload."""
        self._is_ready = True
        self._send("READY=1")

    def expect_silence(self, seconds: float) -> None:
        """The main loop will not run for so long at the most, and tell by :meth:`end_silence`."""
        microseconds = round((seconds + STOP_MARGIN) * 1e6)
        if self._period:
            self._send(f"WATCHDOG_USEC={microseconds}")
        self._send(f"EXTEND_TIMEOUT_USEC={microseconds}")

    def end_silence(self, next_step: float) -> None:
        """It goes on. If this is the start, the first worker gets *next_step* seconds."""
        if self._period:
            self._send(f"WATCHDOG_USEC={self._period}")
        if not self._is_ready:
            self._send(f"EXTEND_TIMEOUT_USEC={round((next_step + STOP_MARGIN) * 1e6)}")

    def reloading(self) -> None:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self, seconds: float) -> None:
        """The daemon drains, for so long at the most: systemd is not to kill it before."""
        microseconds = round((seconds + STOP_MARGIN) * 1e6)
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}")

    def beat(self, status: str, *, alive: bool) -> None:
        """Called in every round of the main loop.

        :param status: one line for ``systemctl status``; sent when it has changed.
        :param alive: whether there is a worker that lives.
        """
        self._flush()
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")
        if not alive:
            return
        if not self._is_ready:
            self._send(f"EXTEND_TIMEOUT_USEC={round(START_STEP * 1e6)}")
        if self._watchdog:
            self._send("WATCHDOG=1")
        if self._health_file:
            self._touch(self._health_file)

    def _touch(self, path: Path) -> None:
        try:
            _touch(path)
        except OSError as error:
            if self._touched:  # told once, not every second
                logger.warning("The health file %s: %s", path, error.strerror)
            self._touched = False
        else:
            self._touched = True

    def end(self) -> None:
        """The daemon has ended: no file is left to look healthy for a while."""
        if self._health_file:
            with suppress(OSError):
                self._health_file.unlink()

    def release(self) -> None:
        """In a forked child, and when all is over."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, message: str) -> None:
        if self._address and message not in self._unsent:
            self._unsent.append(message)
        self._flush()

    def _flush(self) -> None:
        """Send what waits. What can't be sent is sent in a later round."""
        if not self._unsent:
            return
        with suppress(OSError):
            # Kept: whoever feeds a watchdog must not depend on a free descriptor.
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)  # the main loop waits for nobody
            while self._unsent:
                self._socket.sendto(self._unsent[0].encode(), self._address)
                self._unsent.popleft()


def _touch(path: Path) -> None:
    try:
        descriptor = open_file(path, os.O_WRONLY | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        # It is there, as a rule. A link would have its own time changed, not that of its target.
        os.utime(path, follow_symlinks=False)
        return
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)
