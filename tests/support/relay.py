"""A server behind a network that can go silent, or be cut."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK = 65536


class Relay:
    """Passes on what comes to its port. Silent, it takes everything and passes on nothing.

    :param listener: a socket that listens, if not at this machine's own address.
    """

    def __init__(self, host: str, port: int, listener: socket.socket | None = None) -> None:
        self._server = (host, port)
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._silent = threading.Event()
        self._reads = threading.Event()
        self._reads.set()
        self._lock = threading.Lock()
        self._left: int | None = None
        self._counts_server = True
        self._cuts = False
        self.from_server = 0
        """Bytes that have come from it."""
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def silence(self, after: int = 0) -> None:
        """Pass on nothing, either way, after so many more bytes of the server's."""
        with self._lock:
            self._left, self._counts_server, self._cuts = after, True, False
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
        """Take nothing more, so that whoever sends has to wait, until it is cut or read on."""
        self._reads.clear()

    def read_on(self) -> None:
        self._reads.set()

    def cut(self) -> None:
        """Close every connection there is. (A silent one stays open, as behind a firewall.)"""
        self._reads.set()
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut_after(self, count: int, *, from_server: bool) -> None:
        """Cut after so many more bytes of one side: in the middle of a packet, if of 1 to 4."""
        with self._lock:
            self._left, self._counts_server, self._cuts = count, from_server, True

    @property
    def is_about_to_cut(self) -> bool:
        return self._cuts

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self.cut()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, address = self._listener.accept()
            except OSError:
                return
            try:
                server = self._connect(address[1])
            except OSError:
                client.close()
            else:
                _notice_silence(client)
                link = threading.Thread(target=self._link, args=[client, server], daemon=True)
                with self._lock:
                    self._ends += [client, server]
                    self._threads.append(link)
                link.start()

    def _connect(self, port: int) -> socket.socket:
        """From the client's *port*, if it is free: the server lists the sessions by it."""
        server = socket.socket(socket.AF_INET)
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                server.bind(("", port))
            server.connect(self._server)
        except OSError:
            server.close()
            raise
        return server

    def _link(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=self._pump, args=[server, client, True], daemon=True)
        back.start()
        self._pump(client, server, False)
        back.join()
        with self._lock:
            for end in (client, server):
                self._ends.remove(end)
                end.close()
            self._threads.remove(threading.current_thread())

    def _pump(self, source: socket.socket, target: socket.socket, from_server: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._reads.wait()
                data, is_last = self._let_through(data, from_server)
                if data and not (self._silent.is_set() and not from_server):
                    target.sendall(data)
                if is_last:
                    self.cut()
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _let_through(self, data: bytes, from_server: bool) -> tuple[bytes, bool]:
        """What is passed on of *data*, and whether all is to be cut after it."""
        with self._lock:
            if from_server:
                self.from_server += len(data)
            if self._left is None or from_server is not self._counts_server:
                return data, False
            data, self._left = data[: self._left], max(0, self._left - len(data))
            if self._left:
                return data, False
            if not self._cuts:
                self._silent.set()
                return data, False
            self._left, self._cuts = None, False
            return data, True


def _notice_silence(client: socket.socket) -> None:
    """As a proxy should that is between others: a client that has gone is noticed within 10 s."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 5)):
        if (option := getattr(socket, name, None)) is not None:
            client.setsockopt(socket.IPPROTO_TCP, option, value)


@contextmanager
def relay_to(host: str, port: int, listener: socket.socket | None = None) -> Iterator[Relay]:
    relay = Relay(host, port, listener)
    try:
        yield relay
    finally:
        relay.close()
