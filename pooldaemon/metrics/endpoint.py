"""Runs in a process of its own: answers Prometheus for a daemon, until its supervisor ends."""

from __future__ import annotations

import logging
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from pooldaemon.metrics.daemon import DaemonCollector
from pooldaemon.workers.process import exit_codes

logger = logging.getLogger("pooldaemon.metrics")

CLIENT_TIMEOUT = 10.0
"""Seconds from its connect within which a client has to send its request and to read the answer."""

MOST_CLIENTS = 16
"""At a time, each in a thread; further ones wait in the kernel's queue."""

FULL_POLL = 0.05
"""Seconds between looks whether one of them has gone."""

PAUSE = 0.5
"""Seconds for which nobody is let in, when there was no descriptor or no thread for a client: the
one who waits would wake the main thread at once."""


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Scrapes are no news."""


@dataclass
class _Visit:
    deadline: float


class Server(WSGIServer):
    """A slow client keeps no other one waiting, nor this process from ending.

    :param listener: bound and listening.
    """

    def __init__(self, listener: socket.socket) -> None:
        address = listener.getsockname()
        super().__init__(address, _Handler, bind_and_activate=False)
        self.socket.close()  # the one that was made for us to bind
        self.socket = listener
        # The connection that woke us may be gone by the time it is to be taken.
        listener.setblocking(False)
        self.server_name, self.server_port = address[:2]
        self.setup_environ()
        self._visits: dict[socket.socket, _Visit] = {}
        self._closed_until = 0.0
        self._is_short = False

    def run(self, parent_death_pipe: int) -> None:
        """Serve until *parent_death_pipe* reaches its end."""
        poll = select.poll()
        poll.register(parent_death_pipe, select.POLLIN)
        while True:
            now = time.monotonic()
            is_open = now >= self._closed_until and len(self._visits) < MOST_CLIENTS
            poll.register(self.socket, select.POLLIN if is_open else 0)
            ready = {number for number, event in poll.poll(self._pause(now)) if event}
            if parent_death_pipe in ready:
                return
            if is_open and self.socket.fileno() in ready:
                self._let_in(time.monotonic())
            self._end_late(time.monotonic())

    def _pause(self, now: float) -> float | None:
        """Milliseconds until there is something to do; ``None``: not before somebody comes."""
        due = [visit.deadline for visit in list(self._visits.values())]
        if len(due) >= MOST_CLIENTS:
            due.append(now + FULL_POLL)
        if now < self._closed_until:
            due.append(self._closed_until)
        soonest = min(due, default=float("inf"))
        return None if soonest == float("inf") else max(0.0, soonest - now) * 1000 + 1

    def _let_in(self, now: float) -> None:
        try:
            connection, address = self.socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            self._close_for_a_while(error, now)
            return
        self._visits[connection] = _Visit(now + CLIENT_TIMEOUT)
        thread = threading.Thread(target=self._answer, args=(connection, address), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._let_go(connection)
            self._close_for_a_while(error, now)
        else:
            self._is_short = False

    def _close_for_a_while(self, error: Exception, now: float) -> None:
        self._closed_until = now + PAUSE
        if not self._is_short:
            logger.warning("The metrics exporter can't let a client in; it tries again: %s", error)
        self._is_short = True

    def _answer(self, connection: socket.socket, address: object) -> None:
        try:
            self.finish_request(connection, address)
        except Exception as error:  # noqa: BLE001 - it fell silent, or went away
            logger.info("Answering %s failed: %r", address, error)
        finally:
            self._let_go(connection)

    def _end_late(self, now: float) -> None:
        for connection, visit in list(self._visits.items()):
            if now >= visit.deadline:
                # Its thread, which reads or writes, sees the end.
                visit.deadline = float("inf")
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _let_go(self, connection: socket.socket) -> None:
        self.shutdown_request(connection)
        self._visits.pop(connection, None)


def serve(listener: socket.socket, parent_death_pipe: int, control: Path, name: str) -> int:
    """Serve until *parent_death_pipe* reaches its end; returns the exit status.

    :param listener: bound and listening. :param control: the daemon's control socket.
    :param name: the daemon's.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU):
        # They may be sent to the whole group; the supervisor ends us when it ends.
        signal.signal(number, signal.SIG_IGN)
    registry = CollectorRegistry()
    registry.register(DaemonCollector(control, name))
    server = Server(listener)
    server.set_app(make_wsgi_app(registry))
    server.run(parent_death_pipe)
    return exit_codes.OK
