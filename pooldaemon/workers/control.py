"""The control socket: one question and one answer per connection, each a line of JSON.

The supervisor's side never waits for a client; the client's side is :func:`ask`.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LONGEST_REQUEST = 4096
"""Bytes."""

CLIENT_TIMEOUT = 5.0
"""Seconds that a client gets to send its request, and in all to take its answer."""

MOST_CLIENTS = 32
"""At a time; further ones wait in the kernel's queue."""

SEND_TIMEOUT = 0.5
"""Seconds for which a client that does not read its answer can hold up the supervisor."""

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class ControlSocket:
    """Listens from :meth:`open` to :meth:`release`. For the process that holds the pidfile's lock:
    whatever socket is left at *path* is nobody's.

    :param path: only its owner may connect (mode 0600).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._clients: dict[socket.socket, tuple[float, bytes]] = {}

    def open(self) -> None:
        """
        :raises OSError: it can't be made; or there is something else, or somebody else's.
        """
        self._remove_left_over()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        previous = os.umask(0o177)
        try:
            with _short(self.path) as address:
                self._listener.bind(address)
        finally:
            os.umask(previous)
        self._listener.listen()
        self._listener.setblocking(False)

    def take_over(self, descriptor: int) -> None:
        """Go on with the socket that another process has opened."""
        self._listener = socket.socket(fileno=descriptor)
        self._listener.setblocking(False)

    @property
    def descriptor(self) -> int:
        return self._listener.fileno()

    def descriptors(self) -> list[int]:
        """What to wait for."""
        clients = [client.fileno() for client in self._clients]
        return clients if len(clients) >= MOST_CLIENTS else [self.descriptor, *clients]

    def serve(self, answer: Answer, now: float) -> None:
        """Answer the requests that have come in whole; give up on clients that are slow."""
        with suppress(BlockingIOError):
            while len(self._clients) < MOST_CLIENTS:
                client, _ = self._listener.accept()
                client.setblocking(False)
                self._clients[client] = now + CLIENT_TIMEOUT, b""
        for client, (deadline, received) in list(self._clients.items()):
            try:
                data = client.recv(LONGEST_REQUEST)
            except BlockingIOError:
                if now >= deadline:
                    self._drop(client)
                continue
            except OSError:
                data = b""
            request = received + data
            self._clients[client] = deadline, request
            if request.endswith(b"\n"):
                self._send(client, _answer(request, answer))
            if not data or len(request) > LONGEST_REQUEST or request.endswith(b"\n"):
                self._drop(client)

    def close_descriptors(self) -> None:
        """For a forked child, in which they are the parent's."""
        for client in list(self._clients):
            self._drop(client)
        self._listener.close()

    def release(self) -> None:
        """Remove the socket. The lock is still held, so it is not a successor's."""
        with suppress(OSError):
            self.path.unlink()
        self.close_descriptors()

    def _remove_left_over(self) -> None:
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise FileExistsError(0, "it exists, and is no socket")
        if found.st_uid != os.geteuid():
            raise PermissionError(0, f"it belongs to another user (uid {found.st_uid})")
        self.path.unlink()

    def _send(self, client: socket.socket, line: bytes) -> None:
        client.settimeout(SEND_TIMEOUT)
        with suppress(OSError):  # it is gone, or does not read
            client.sendall(line)

    def _drop(self, client: socket.socket) -> None:
        del self._clients[client]
        client.close()


def _answer(request: bytes, answer: Answer) -> bytes:
    try:
        asked = json.loads(request)
        told = answer(asked) if isinstance(asked, dict) else {"error": "a request is an object"}
    except ValueError:
        told = {"error": "a request is a line of JSON"}
    return json.dumps(told).encode() + b"\n"


def ask(path: Path, command: str, **values: Any) -> dict[str, Any]:
    """Send a request to a daemon.

    :raises OSError: nobody answers there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CLIENT_TIMEOUT)
        with _short(path) as address:
            client.connect(address)
        client.sendall(json.dumps({"command": command, **values}).encode() + b"\n")
        with client.makefile("rb") as stream:
            line = stream.readline()
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:
        raise ConnectionResetError(0, "the daemon ended without an answer") from None
    return told


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """*path*, written so that it fits into a socket's address (about 100 bytes)."""
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").exists():
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
