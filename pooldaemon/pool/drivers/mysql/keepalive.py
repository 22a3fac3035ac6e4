"""Socket options that end a connection whose server's machine is silent.

A host may vanish, or a firewall may drop all packets. Without these options a running statement
then waits for a quarter of an hour, or for ever, and keeps its place in the pool. After a short
failure it goes on late, because TCP repeats a lost packet at growing intervals. A long statement is
not ended: the server's machine acknowledges packets meanwhile.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SILENCE_LIMIT = 10
"""Seconds after which a connection fails whose other end acknowledges nothing (``TCP_USER_TIMEOUT``
and keepalive). It is as long as a connect may take."""

KEEPALIVE_IDLE = 5
"""Seconds of silence before the first keepalive probe."""

KEEPALIVE_INTERVAL = 1
"""Seconds between further probes. Several have to be lost, because one packet may be."""

LONGEST_BACKOFF = 1000
"""Milliseconds between repetitions of a lost packet, at most."""

GOODBYE_LIMIT = 900
"""Seconds for which the system tries to tell the other end that a connection is closed: as long as
TCP's own patience."""

TCP_CLOSE = 7
"""Linux's number for the state of a socket that has been given up."""

TCP_RTO_MAX_MS = getattr(socket, "TCP_RTO_MAX_MS", 44)
"""Linux's number, from 6.15 on. Older kernels refuse it."""

_OPTIONS = (
    ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
    ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
    ("TCP_KEEPCNT", (SILENCE_LIMIT - KEEPALIVE_IDLE) // KEEPALIVE_INTERVAL),
    ("TCP_USER_TIMEOUT", SILENCE_LIMIT * 1000),
)


def notice_silence(descriptor: int) -> int:
    """Have the system end the connection if its other end is silent for too long.

    :returns: the port of this end; 0: it has none.
    """
    with _borrowed(descriptor) as peer:
        if peer.family == socket.AF_UNIX:
            return 0
        with suppress(OSError):  # the system does not have all of them
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _OPTIONS:
                if (option := getattr(socket, name, None)) is not None:
                    peer.setsockopt(socket.IPPROTO_TCP, option, value)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; alone it would shorten TCP's patience
                peer.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, LONGEST_BACKOFF)
        with suppress(OSError):  # it has been closed already
            port: int = peer.getsockname()[1]
            return port
        return 0


def keep_saying_goodbye(descriptor: int) -> None:
    """Have the system tell the other end, for longer, that the connection is about to be closed."""
    if (option := getattr(socket, "TCP_USER_TIMEOUT", None)) is not None:
        with _borrowed(descriptor) as peer, suppress(OSError):
            peer.setsockopt(socket.IPPROTO_TCP, option, GOODBYE_LIMIT * 1000)


def tcp_state(peer: socket.socket) -> int:
    """Linux's number for the state of a TCP socket; 0 on another system, or if it is no TCP."""
    try:
        return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except (AttributeError, OSError):
        return 0


def is_given_up(descriptor: int) -> bool:
    """Whether the system has given the connection up without an answer from the other end."""
    with _borrowed(descriptor) as peer:
        return tcp_state(peer) == TCP_CLOSE


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    peer = socket.socket(fileno=descriptor)
    try:
        yield peer
    finally:
        peer.detach()
