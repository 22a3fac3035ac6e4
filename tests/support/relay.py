"""A server behind a network that can go silent, or be cut."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

CHUNK = 65536


class Relay:
    """Passes on what comes to its port. Silent, it takes everything and passes on nothing."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._silent = threading.Event()
        self._reads = threading.Event()
        self._reads.set()
        self._lock = threading.Lock()
        self._left: int | None = None
        self.from_server = 0
        """Bytes that have come from it."""
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def silence(self, after: int = 0) -> None:
        """Pass on nothing, either way, after so many more bytes of the server's."""
        with self._lock:
            self._left = after
        if not after:
            self._silent.set()

    @property
    def is_silent(self) -> bool:
        return self._silent.is_set()

    def heal(self) -> None:
        """Pass on what comes from now on. What came meanwhile is lost."""
        with self._lock:
            self._left = None
        self._silent.clear()

    def stop_reading(self) -> None:
        """Take nothing more, so that whoever sends has to wait, until it is cut."""
        self._reads.clear()

    def cut(self) -> None:
        """Close every connection there is. (A silent one stays open, as behind a firewall.)"""
        self._reads.set()
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _start(self, function: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
            else:
                with self._lock:
                    self._ends += [client, server]
                for source, target in ((client, server), (server, client)):
                    self._start(self._pump, source, target, source is server)

    def _pump(self, source: socket.socket, target: socket.socket, from_server: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._reads.wait()
                if from_server:
                    data = self._let_through(data)
                if data and not (self._silent.is_set() and not from_server):
                    target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _let_through(self, data: bytes) -> bytes:
        with self._lock:
            self.from_server += len(data)
            if self._left is not None:
                data, self._left = data[: self._left], max(0, self._left - len(data))
                if not self._left:
                    self._silent.set()
        return data


@contextmanager
def relay_to(host: str, port: int) -> Iterator[Relay]:
    relay = Relay(host, port)
    try:
        yield relay
    finally:
        relay.close()
