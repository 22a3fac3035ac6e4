"""Runs in a process of its own: answers Prometheus for a daemon, until its supervisor ends."""

from __future__ import annotations

import logging
import select
import signal
import socket
import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from pooldaemon.metrics.daemon import DaemonCollector
from pooldaemon.workers.process import exit_codes

logger = logging.getLogger("pooldaemon.metrics")

CLIENT_TIMEOUT = 10.0
"""Seconds for which a client may be silent."""


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_TIMEOUT

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Scrapes are no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """A slow client keeps no other one waiting, nor this process from ending."""

    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        address = listener.getsockname()
        super().__init__(address, _Handler, bind_and_activate=False)
        self.socket.close()  # the one that was made for us to bind
        self.socket = listener
        self.server_name, self.server_port = address[:2]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """In place of a traceback on stderr: it fell silent, or went away."""
        logger.info("Answering %s failed: %r", client_address, sys.exception())


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
    server = _Server(listener)
    server.set_app(make_wsgi_app(registry))
    # The connection that woke us may be gone by the time it is to be taken.
    listener.setblocking(False)
    poll = select.poll()
    for descriptor in (parent_death_pipe, listener.fileno()):
        poll.register(descriptor, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if parent_death_pipe in ready:
            return exit_codes.OK
        server.handle_request()
