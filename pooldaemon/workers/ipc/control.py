"""The control socket: one question and one answer per connection, each a line of JSON.

The supervisor's side never waits for a client; the client's side is :func:`ask`.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import selectors
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

logger = logging.getLogger("pooldaemon.supervisor")

LONGEST_REQUEST = 4096
"""Bytes."""

CLIENT_TIMEOUT = 5.0
"""Seconds from its connect within which a client has to send its request and read its answer."""

MOST_CLIENTS = 32
"""At a time; further ones wait in the kernel's queue."""

QUEUE_POLL = 0.05
"""Seconds between a client's attempts to connect while that queue is full."""

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class _Client:
    """A connection that was accepted: first its request is read, then its answer is sent."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self._request = b""
        self._answer = b""

    @property
    def is_being_answered(self) -> bool:
        return bool(self._answer)

    def go_on(self, answer: Answer) -> bool:
        """Read or send what is possible without waiting. ``False``: the client is done with.

        :raises BlockingIOError: the client has to do something first.
        """
        if not self._answer:
            data = self.connection.recv(LONGEST_REQUEST + 1)
            self._request += data
            if len(self._request) > LONGEST_REQUEST:
                self._answer = _encode({"error": f"a request has {LONGEST_REQUEST} bytes at most"})
            elif self._request.endswith(b"\n"):
                self._answer = _answer(self._request, answer)
            elif not data:
                return False
        if self._answer:
            self._answer = self._answer[self.connection.send(self._answer) :]
            return bool(self._answer)
        return True


class ControlSocket:
    """Listens from :meth:`open` to :meth:`release`. For the process that holds the pidfile's lock:
    whatever socket is left at *path* is nobody's.

    :param path: only its owner may connect (mode 0600).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._clients: dict[socket.socket, _Client] = {}
        self._reserve = -1
        """A descriptor that is given up for a client when there is no other one. Not before the
        daemon has gone into the background, which closes it."""
        self._is_short = False

    def open(self) -> None:
        """
        :raises OSError: it can't be made; or there is something else, or somebody else's.
        """
        self._remove_left_over()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        previous = os.umask(0o177)
        try:
            with _short(self.path) as address:
                listener.bind(address)
        finally:
            os.umask(previous)
        listener.listen()
        self._listen(listener)

    def take_over(self, descriptor: int) -> None:
        """Go on with the socket that another process has opened."""
        self._listen(socket.socket(fileno=descriptor))

    def _listen(self, listener: socket.socket) -> None:
        self._listener = listener
        listener.setblocking(False)

    @cached_property
    def _selector(self) -> selectors.DefaultSelector:
        """Its own descriptor tells the main loop whether one of those registered is ready.

        Made in the daemon: going into the background closes what is not known there.
        """
        with ExitStack() as on_failure:
            selector = on_failure.enter_context(selectors.DefaultSelector())
            selector.register(self._listener, selectors.EVENT_READ)
            on_failure.pop_all()
        return selector

    @property
    def descriptor(self) -> int:
        return self._listener.fileno()

    @property
    def clients(self) -> int:
        """How many have been accepted and not been let go."""
        return len(self._clients)

    def descriptors(self) -> list[int]:
        """What to wait for; nothing if it can't be made, which :meth:`serve` tells."""
        try:
            return [self._selector.fileno()]  # of epoll, or kqueue
        except OSError:
            return []

    def serve(self, answer: Answer, now: float) -> None:
        """Answer the requests that have come in whole; give up on clients that are slow.

        :raises OSError: nobody can be accepted just now.
        """
        for client in list(self._clients.values()):
            self._go_on(client, answer, now)
        self._take_reserve()
        try:
            while self._takes_clients() and (connection := self._accept()) is not None:
                with ExitStack() as on_failure:
                    on_failure.enter_context(connection)
                    self._selector.register(connection, selectors.EVENT_READ)
                    on_failure.pop_all()
                client = self._clients[connection] = _Client(connection, now + CLIENT_TIMEOUT)
                self._go_on(client, answer, now)
        finally:
            self._watch_listener(self._takes_clients())

    def _takes_clients(self) -> bool:
        # Without a reserve the next one might find no descriptor: one after the other.
        return len(self._clients) < (MOST_CLIENTS if self._reserve >= 0 else 1)

    def _accept(self) -> socket.socket | None:
        """The next client; ``None`` if nobody waits."""
        try:
            connection, _ = self._listener.accept()
            self._is_short = self._reserve < 0
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or self._reserve < 0:
                raise
            # Whoever asks what the matter is gets an answer.
            if not self._is_short:
                logger.warning("One client of %s at a time: %s", self.path, error.strerror)
            self._is_short = True
            self._give_up_reserve()
            return self._accept()
        connection.setblocking(False)
        return connection

    def _take_reserve(self) -> None:
        if self._reserve < 0:
            with suppress(OSError):
                self._reserve = os.open(os.devnull, os.O_RDONLY)

    def _give_up_reserve(self) -> None:
        if self._reserve >= 0:
            reserve, self._reserve = self._reserve, -1
            os.close(reserve)

    def _go_on(self, client: _Client, answer: Answer, now: float) -> None:
        try:
            wanted = client.go_on(answer)
        except BlockingIOError:
            wanted = now < client.deadline
        except OSError:  # it has gone away
            wanted = False
        except Exception:
            self._drop(client)  # or it would ask the same in each round
            raise
        if not wanted:
            self._drop(client)
        elif client.is_being_answered:
            self._selector.modify(client.connection, selectors.EVENT_WRITE)

    def _drop(self, client: _Client) -> None:
        del self._clients[client.connection]
        self._selector.unregister(client.connection)
        client.connection.close()
        self._take_reserve()

    def _watch_listener(self, wanted: bool) -> None:
        # While nobody can be accepted, those who wait would wake the main loop without a pause.
        if wanted is not (self._listener in self._selector.get_map()):
            if wanted:
                self._selector.register(self._listener, selectors.EVENT_READ)
            else:
                self._selector.unregister(self._listener)

    def close_descriptors(self) -> None:
        """For a forked child, in which they are the parent's."""
        # Unregistered by nobody: the child's selector is the parent's.
        if (selector := self.__dict__.pop("_selector", None)) is not None:
            selector.close()
        for connection in self._clients:
            connection.close()
        self._clients.clear()
        self._give_up_reserve()
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


def _answer(request: bytes, answer: Answer) -> bytes:
    try:
        asked = json.loads(request, parse_constant=_refuse)
    except (ValueError, RecursionError):  # the latter: too many nested brackets
        return _encode({"error": "a request is a line of JSON"})
    return _encode(answer(asked) if isinstance(asked, dict) else {"error": "it is no JSON object"})


def _refuse(constant: str) -> NoReturn:
    """NaN and the infinities, which Python's reader takes and JSON does not have."""
    raise ValueError(constant)


def _encode(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode() + b"\n"


def ask(path: Path, command: str, /, **values: Any) -> dict[str, Any]:
    """Send a request to a daemon, and wait up to :data:`CLIENT_TIMEOUT` seconds for each step.

    :raises OSError: nobody answers there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CLIENT_TIMEOUT)
        with _short(path) as address:
            _connect(client, address)
        client.sendall(_encode({**values, "command": command}))
        with client.makefile("rb") as stream:
            line = stream.readline()
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:
        raise ConnectionResetError(0, "the daemon ended without an answer") from None
    return told


def _connect(client: socket.socket, address: str) -> None:
    deadline = time.monotonic() + CLIENT_TIMEOUT
    while True:
        try:
            client.connect(address)
        except BlockingIOError:  # the queue is full, and a socket with a timeout is not let wait
            if time.monotonic() >= deadline:
                raise TimeoutError(0, "the daemon has too many clients") from None
            time.sleep(QUEUE_POLL)
        else:
            return


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
