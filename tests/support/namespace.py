"""A network namespace: a network of one's own, in which packets can be dropped."""

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

NOBODY = "02:00:00:00:00:fe"
"""The Ethernet address of a machine that is not there."""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


class NoNamespaceError(Exception):
    """None can be made here; says why."""


class Namespace:
    """A network of its own, with a cable to this one.

    :ivar host, guest: the addresses of the cable's ends, outside and inside.
    """

    def __init__(self) -> None:
        self.name = f"pd{secrets.token_hex(4)}"
        self.inside, self.outside = f"{self.name}i", f"{self.name}o"
        net = f"198.18.{secrets.randbelow(256)}"  # kept for tests like this one (RFC 2544)
        first = secrets.randbelow(60) * 4
        self.host, self.guest = f"{net}.{first + 1}", f"{net}.{first + 2}"

    def open(self) -> None:
        _ip("netns", "add", self.name)
        link = ["link", "add", self.outside, "type", "veth", "peer", "name", self.inside]
        _ip(*link, "netns", self.name)
        _ip("addr", "add", f"{self.host}/30", "dev", self.outside)
        _ip("link", "set", self.outside, "up")
        _ip("-n", self.name, "addr", "add", f"{self.guest}/30", "dev", self.inside)
        _ip("-n", self.name, "link", "set", self.inside, "up")

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.name)

    def listen(self) -> socket.socket:
        """A socket of this process that listens inside."""
        with ThreadPoolExecutor(1) as thread:  # each thread has a network of its own
            return thread.submit(self._listen).result()

    def _listen(self) -> socket.socket:
        with Path("/run/netns", self.name).open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0):
                raise OSError(ctypes.get_errno(), "setns failed")
        return socket.create_server((self.guest, 0), backlog=200)

    def part(self) -> None:
        """Drop all packets, both ways: no error comes back."""
        change = ["neigh", "replace"]
        _ip(*change, self.guest, "lladdr", NOBODY, "dev", self.outside, "nud", "permanent")
        inside = ["-n", self.name, *change, self.host, "lladdr", NOBODY, "dev", self.inside]
        _ip(*inside, "nud", "permanent")

    def heal(self) -> None:
        _ip("neigh", "del", self.guest, "dev", self.outside)
        _ip("-n", self.name, "neigh", "del", self.host, "dev", self.inside)


@contextmanager
def new_namespace() -> Iterator[Namespace]:
    """:raises NoNamespaceError: none can be made."""
    if os.geteuid() or shutil.which("ip") is None:
        raise NoNamespaceError("needs root and iproute2, to make a network namespace")
    namespace = Namespace()
    try:
        try:
            namespace.open()
        except subprocess.CalledProcessError as error:
            reason = error.stderr.decode().strip()
            raise NoNamespaceError(f"no network namespace can be made here: {reason}") from None
        yield namespace
    finally:
        namespace.close()
