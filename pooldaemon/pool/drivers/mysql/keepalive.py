"""TCP's own bound for a server's machine that has gone without a word.

A host may vanish, or a firewall drop all packets. Without these options a statement that is under
way then waits for a quarter of an hour, or for ever, while its session keeps a place in the pool;
and one that comes through in the end does so late, because TCP repeats a lost packet more and more
seldom. None of this ends a statement that takes long: the server's machine answers for it.
"""

from __future__ import annotations

import socket
from contextlib import suppress

SILENCE_LIMIT = 10
"""Seconds after which a connection fails whose other end acknowledges nothing (``TCP_USER_TIMEOUT``
and keepalive). It is as long as a connect may take."""

KEEPALIVE_IDLE = 5
"""Seconds of silence before the other end is asked whether it is there."""

KEEPALIVE_INTERVAL = 1
"""Seconds between further questions. Several have to be lost: one packet may be."""

LONGEST_BACKOFF = 1000
"""Milliseconds between repetitions of a lost packet, at most."""

TCP_RTO_MAX_MS = getattr(socket, "TCP_RTO_MAX_MS", 44)
"""Linux's number, from 6.15 on; others say that they do not know it."""

_OPTIONS = (
    ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
    ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
    ("TCP_KEEPCNT", (SILENCE_LIMIT - KEEPALIVE_IDLE) // KEEPALIVE_INTERVAL),
    ("TCP_USER_TIMEOUT", SILENCE_LIMIT * 1000),
)


def notice_silence(descriptor: int) -> None:
    """Have the system end the connection if its other end is silent for too long."""
    peer = socket.socket(fileno=descriptor)
    try:
        if peer.family == socket.AF_UNIX:
            return
        with suppress(OSError):  # a system that has not all of them
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _OPTIONS:
                if (option := getattr(socket, name, None)) is not None:
                    peer.setsockopt(socket.IPPROTO_TCP, option, value)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; alone it would shorten TCP's patience
                peer.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, LONGEST_BACKOFF)
    finally:
        peer.detach()
