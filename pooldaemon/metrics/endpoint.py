"""Runs in a process of its own: serves a daemon's metrics to Prometheus until the supervisor
ends."""

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
"""Seconds that a client has, from its accept, to send its request and read the answer."""

MAX_CLIENTS = 16
"""Clients at a time, each in a thread. Further ones wait in the kernel's queue."""

FULL_POLL = 0.05
"""Seconds between two checks whether a client has disconnected."""

PAUSE = 0.5
"""Seconds without accepting clients after there was no descriptor or no thread for one. Without a
pause, the waiting client would wake the main thread again at once."""


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Scrapes are not logged."""


@dataclass
class _Client:
    deadline: float


class Server(WSGIServer):
    """A server with a thread for each client: a slow one delays neither others nor the end.

    :param listener: a socket that is bound and listening.
    """

    def __init__(self, listener: socket.socket) -> None:
        address = listener.getsockname()
        super().__init__(address, _Handler, bind_and_activate=False)
        self.socket.close()  # the base class's own, which is not bound
        self.socket = listener
        # The client that has woken us may have disconnected before the accept.
        listener.setblocking(False)
        self.server_name, self.server_port = address[:2]
        self.setup_environ()
        self._clients: dict[socket.socket, _Client] = {}
        self._closed_until = 0.0
        self._is_short = False

    def run(self, parent_death_pipe: int) -> None:
        """Serve until *parent_death_pipe* reaches its end."""
        poll = select.poll()
        poll.register(parent_death_pipe, select.POLLIN)
        while True:
            now = time.monotonic()
            is_open = now >= self._closed_until and len(self._clients) < MAX_CLIENTS
            poll.register(self.socket, select.POLLIN if is_open else 0)
            ready = {number for number, event in poll.poll(self._pause(now)) if event}
            if parent_death_pipe in ready:
                return
            if is_open and self.socket.fileno() in ready:
                self._accept(time.monotonic())
            self._disconnect_late(time.monotonic())

    def _pause(self, now: float) -> float | None:
        """Milliseconds until there is something to do; ``None``: until a client connects."""
        due = [client.deadline for client in list(self._clients.values())]
        if len(due) >= MAX_CLIENTS:
            due.append(now + FULL_POLL)
        if now < self._closed_until:
            due.append(self._closed_until)
        soonest = min(due, default=float("inf"))
        return None if soonest == float("inf") else max(0.0, soonest - now) * 1000 + 1

    def _accept(self, now: float) -> None:
        try:
            connection, address = self.socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            self._close_for_a_while(error, now)
            return
        self._clients[connection] = _Client(now + CLIENT_TIMEOUT)
        thread = threading.Thread(target=self._answer, args=(connection, address), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._close(connection)
            self._close_for_a_while(error, now)
        else:
            self._is_short = False

    def _close_for_a_while(self, error: Exception, now: float) -> None:
        self._closed_until = now + PAUSE
        if not self._is_short:
            logger.warning(
                "The metrics exporter can't accept a client, and will try again: %s", error
            )
        self._is_short = True

    def _answer(self, connection: socket.socket, address: object) -> None:
        try:
            self.finish_request(connection, address)
        except Exception as error:  # noqa: BLE001 - the client is too slow, or has disconnected
            logger.info("The metrics exporter can't answer %s: %r", address, error)
        finally:
            self._close(connection)

    def _disconnect_late(self, now: float) -> None:
        for connection, client in list(self._clients.items()):
            if now >= client.deadline:
                # This ends the read or write of its thread.
                client.deadline = float("inf")
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _close(self, connection: socket.socket) -> None:
        self.shutdown_request(connection)
        self._clients.pop(connection, None)


def serve(listener: socket.socket, parent_death_pipe: int, control: Path, name: str) -> int:
    """Serve a daemon's metrics until *parent_death_pipe* reaches its end; returns the exit status.

    :param listener: a socket that is bound and listening.
    :param control: the daemon's control socket.
    :param name: the daemon's name, for the label ``daemon``.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU):
        # A terminal sends them to the whole process group; the supervisor ends this process.
        signal.signal(number, signal.SIG_IGN)
    registry = CollectorRegistry()
    registry.register(DaemonCollector(control, name))
    server = Server(listener)
    server.set_app(make_wsgi_app(registry))
    server.run(parent_death_pipe)
    return exit_codes.OK
