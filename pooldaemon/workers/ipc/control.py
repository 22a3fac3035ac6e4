"""The control socket: one request and one answer per connection, each a line of JSON.

The supervisor's side, :class:`ControlSocket`, never waits for a client. The client's side is
:func:`ask`.
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
from typing import Any

from pooldaemon.workers.ipc.channel import refuse_constant
from pooldaemon.workers.process.shapes import is_flat

logger = logging.getLogger("pooldaemon.supervisor")

MAX_REQUEST = 4096
"""Bytes."""

MAX_ANSWER = 2**28
"""Bytes. The status of a thousand workers has about a hundredth of it."""

CLIENT_TIMEOUT = 5.0
"""Seconds that a client has, from its accept, to send its request and read the answer."""

MAX_CLIENTS = 32
"""Clients at a time. Further ones wait in the kernel's queue."""

QUEUE_POLL = 0.05
"""Seconds between a client's attempts to connect while that queue is full."""

Answer = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes a request and returns the answer."""


class _Client:
    """An accepted connection: first its request is read, then the answer is sent."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self._request = b""
        self._answer = b""

    @property
    def is_being_answered(self) -> bool:
        return bool(self._answer)

    def go_on(self, answer: Answer) -> bool:
        """Read or send as much as is possible without waiting.

        :returns: whether there is more to read or send.
        :raises BlockingIOError: nothing can be read or sent now.
        """
        if not self._answer:
            data = self.connection.recv(MAX_REQUEST + 1)
            self._request += data
            if len(self._request) > MAX_REQUEST:
                error = f"the request is longer than {MAX_REQUEST} bytes"
                self._answer = _encode({"error": error})
            elif self._request.endswith(b"\n"):
                self._answer = _answer(self._request, answer)
            elif not data:
                return False
        if self._answer:
            self._answer = self._answer[self.connection.send(self._answer) :]
            return bool(self._answer)
        return True


class ControlSocket:
    """The listening socket. Only for the process that holds the pidfile's lock: it removes a socket
    that a dead daemon has left at *path*.

    :param path: created with mode 0600, so that only its owner and root can connect.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._clients: dict[socket.socket, _Client] = {}
        self._reserve = -1
        """A descriptor that is closed to accept a client when there is no other one. Opened by
        :meth:`serve`: going into the background would close it."""
        self._is_short = False

    def open(self) -> None:
        """Create the socket, and listen.

        :raises OSError: it can't be created, or *path* is something other than a socket of this
            user.
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
        """Listen on a socket that is open already: before a reload, :meth:`open` has created it."""
        self._listen(socket.socket(fileno=descriptor))

    def _listen(self, listener: socket.socket) -> None:
        self._listener = listener
        listener.setblocking(False)

    @cached_property
    def _selector(self) -> selectors.DefaultSelector:
        """Watches the listener and the clients; the main loop waits for its descriptor.

        Created when first used: going into the background would close its descriptor.
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
        """How many are connected."""
        return len(self._clients)

    def descriptors(self) -> list[int]:
        """The descriptors to wait for. Empty if the selector can't be created, in which case
        :meth:`serve` raises."""
        try:
            return [self._selector.fileno()]  # of epoll, or kqueue
        except OSError:
            return []

    def serve(self, answer: Answer, now: float) -> None:
        """Accept clients, answer complete requests, and disconnect slow clients. Never waits.

        :param now: seconds of the monotonic clock.
        :raises OSError: a client can't be accepted now.
        """
        for client in list(self._clients.values()):
            self._go_on(client, answer, now)
        self._take_reserve()
        try:
            # Further clients are accepted in the next rounds: the main loop has other work.
            for _ in range(MAX_CLIENTS):
                if not self._takes_clients() or (connection := self._accept()) is None:
                    break
                with ExitStack() as on_failure:
                    on_failure.enter_context(connection)
                    self._selector.register(connection, selectors.EVENT_READ)
                    on_failure.pop_all()
                client = self._clients[connection] = _Client(connection, now + CLIENT_TIMEOUT)
                self._go_on(client, answer, now)
        finally:
            self._watch_listener(self._takes_clients())

    def _takes_clients(self) -> bool:
        # Without a reserve there may be no descriptor for a second client.
        return len(self._clients) < (MAX_CLIENTS if self._reserve >= 0 else 1)

    def _accept(self) -> socket.socket | None:
        """The next client, or ``None`` if none is waiting."""
        try:
            connection, _ = self._listener.accept()
            self._is_short = self._reserve < 0
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or self._reserve < 0:
                raise
            # Operators must be able to ask for the status of a daemon that is out of descriptors.
            if not self._is_short:
                logger.warning(
                    "%s: clients are served one at a time: %s", self.path, error.strerror
                )
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
        except OSError:  # the client has disconnected
            wanted = False
        except Exception:
            self._drop(client)  # or its request would fail again in each round of the main loop
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
        # While no client can be accepted, a waiting one would wake the main loop again and again.
        if wanted is not (self._listener in self._selector.get_map()):
            if wanted:
                self._selector.register(self._listener, selectors.EVENT_READ)
            else:
                self._selector.unregister(self._listener)

    def close_descriptors(self) -> None:
        """Close what belongs to the parent, in a forked child."""
        # Nothing is unregistered: the child shares the selector with its parent.
        if (selector := self.__dict__.pop("_selector", None)) is not None:
            selector.close()
        for connection in self._clients:
            connection.close()
        self._clients.clear()
        self._give_up_reserve()
        self._listener.close()

    def release(self) -> None:
        """Close and remove the socket. Only while the pidfile's lock is held: otherwise it might be
        another daemon's."""
        with suppress(OSError):
            self.path.unlink()
        self.close_descriptors()

    def _remove_left_over(self) -> None:
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise FileExistsError(0, "it exists and is not a socket")
        if found.st_uid != os.geteuid():
            raise PermissionError(0, f"it belongs to another user (uid {found.st_uid})")
        self.path.unlink()


def _answer(request: bytes, answer: Answer) -> bytes:
    try:
        values = json.loads(request, parse_constant=refuse_constant)
    except (ValueError, RecursionError):  # the latter: too many nested brackets
        return _encode({"error": "the request is not a line of JSON"})
    if not is_flat(values):
        return _encode({"error": "the request is not a JSON object of texts and numbers"})
    return _encode(answer(values))


def _encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def ask(path: Path, command: str, /, **values: Any) -> dict[str, Any]:
    """Send a request to a daemon; returns its answer.

    Blocks for up to :data:`CLIENT_TIMEOUT` seconds to connect, and as many for the rest.

    :param path: the control socket.
    :param values: the command's arguments, as JSON.
    :raises OSError: no daemon answers at *path* in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CLIENT_TIMEOUT)
        with _short(path) as address:
            _connect(client, address)
        deadline = time.monotonic() + CLIENT_TIMEOUT
        client.sendall(_encode({**values, "command": command}))
        answer = _read_answer(client, deadline)
    try:
        content = json.loads(answer)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ConnectionResetError(0, "the daemon disconnected without an answer")
    return content


def _read_answer(client: socket.socket, deadline: float) -> bytes:
    """:raises OSError: there is none in time."""
    answer = bytearray()
    while not answer.endswith(b"\n"):
        client.settimeout(max(0.001, deadline - time.monotonic()))
        part = client.recv(2**20)
        if not part or len(answer) > MAX_ANSWER:
            break
        answer += part
    return bytes(answer)


def _connect(client: socket.socket, address: str) -> None:
    deadline = time.monotonic() + CLIENT_TIMEOUT
    while True:
        try:
            client.connect(address)
        except BlockingIOError:  # the queue is full: with a timeout, connect() does not wait
            if time.monotonic() >= deadline:
                raise TimeoutError(0, "the daemon has too many clients") from None
            time.sleep(QUEUE_POLL)
        else:
            return


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """*path* in a form that fits into a socket's address, which has about 100 bytes."""
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").exists():
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
