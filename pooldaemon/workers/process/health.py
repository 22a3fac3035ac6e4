"""Runs in the parent: health checks for systemd (``sd_notify``) and Kubernetes (the health file).

Only the main loop updates them, and only while workers live: a supervisor that hangs, or that has
no workers, must not look healthy.
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
"""Seconds added to the timeouts that are sent to systemd, for the supervisor's hooks and for
killing sessions on the server."""

START_STEP = 10
"""Seconds by which each round of the main loop extends systemd's start timeout."""


MAX_UNSENT = 100
"""Messages that wait until systemd accepts them. Beyond that the oldest are dropped."""


class Health:
    """Sends messages to systemd, for which it never waits, and touches the health file.

    Not thread-safe.

    :param variables: the environment, with systemd's ``NOTIFY_SOCKET``, the address for messages,
        and ``WATCHDOG_USEC``, its interval in microseconds.
    :param health_file: a path; its modification time is set while the daemon is healthy. Default:
        no file.
    """

    def __init__(self, variables: Mapping[str, str], health_file: str | None = None) -> None:
        address = variables.get("NOTIFY_SOCKET", "")
        # "@" stands for the null byte of an abstract socket address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._health_file = Path(health_file).absolute() if health_file else None
        self._watchdog = variables.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._period = variables.get("WATCHDOG_USEC", "") if self._watchdog else ""
        self._is_ready = False
        self._status = ""
        self._socket: socket.socket | None = None
        self._unsent: deque[str] = deque(maxlen=MAX_UNSENT)
        self._touched = True

    def begin(self) -> None:
        """The daemon starts: remove the health file of an earlier one, which would look healthy."""
        self.end()

    def go_on(self) -> None:
        """The daemon continues after a reload: it has been ready before."""
        self._is_ready = True

    def ready(self) -> None:
        """All workers are ready, at the start or after a reload."""
        self._is_ready = True
        self._send("READY=1")

    def expect_silence(self, seconds: float) -> None:
        """The main loop will not run for up to *seconds*. :meth:`end_silence` ends this."""
        microseconds = round((seconds + STOP_MARGIN) * 1e6)
        if self._period:
            self._send(f"WATCHDOG_USEC={microseconds}")
        self._send(f"EXTEND_TIMEOUT_USEC={microseconds}")

    def end_silence(self, next_step: float) -> None:
        """The main loop runs again.

        :param next_step: seconds that the first worker has to boot, if the daemon is starting.
        """
        if self._period:
            self._send(f"WATCHDOG_USEC={self._period}")
        if not self._is_ready:
            self._send(f"EXTEND_TIMEOUT_USEC={round((next_step + STOP_MARGIN) * 1e6)}")

    def reloading(self) -> None:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self, seconds: float) -> None:
        """The daemon drains for up to *seconds*; systemd must not kill it before."""
        microseconds = round((seconds + STOP_MARGIN) * 1e6)
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}")

    def beat(self, status: str, *, alive: bool) -> None:
        """Called in every round of the main loop.

        :param status: one line for ``systemctl status``; sent when it has changed.
        :param alive: whether a worker lives. If none does, the daemon is not reported as healthy.
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
            if self._touched:  # logged once, not every second
                logger.warning("Can't touch the health file %s: %s", path, error.strerror)
            self._touched = False
        else:
            self._touched = True

    def end(self) -> None:
        """The daemon has ended: remove the health file, which would look healthy for a while."""
        if self._health_file:
            with suppress(OSError):
                self._health_file.unlink()

    def release(self) -> None:
        """Close the socket, in a forked child and at the end."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, message: str) -> None:
        if self._address and message not in self._unsent:
            self._unsent.append(message)
        self._flush()

    def _flush(self) -> None:
        """Send the messages that wait, as far as possible. The others stay for the next call."""
        if not self._unsent:
            return
        with suppress(OSError):
            # Kept open: there may be no free descriptor when the watchdog is due.
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)  # the main loop must not wait
            while self._unsent:
                self._socket.sendto(self._unsent[0].encode(), self._address)
                self._unsent.popleft()


def _touch(path: Path) -> None:
    try:
        descriptor = open_file(path, os.O_WRONLY | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        # No free descriptor: touch it by name. It does not follow a link.
        os.utime(path, follow_symlinks=False)
        return
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)
