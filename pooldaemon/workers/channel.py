"""The pipes between a supervisor and a worker, one for each direction: a JSON object per line.

Two pipes rather than a pair of sockets: a worker that was forked before a reload, by a version
that knew one pipe only, goes on with that.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

LONGEST = 4096
"""Bytes of a message. A write of up to PIPE_BUF, which this is on Linux, is atomic: it goes into
the pipe whole or not at all."""

MAX_TEXT = 600
"""Longest text in a message, in bytes of UTF-8, each of which JSON may escape to six."""


class Sender:
    """The writing end. Never blocks: one who does not read loses messages. Thread-safe."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor

    def send(self, kind: str, **values: Any) -> bool:
        """``False``: it was not sent, since it is longer than :data:`LONGEST`."""
        short = {key: _cut(value) for key, value in values.items()}
        line = json.dumps({"kind": kind, **short}, ensure_ascii=False).encode() + b"\n"
        if len(line) > LONGEST:
            return False
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self.descriptor, line)
        return True

    def close(self) -> None:
        os.close(self.descriptor)


def _cut(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value.encode(errors="replace")[:MAX_TEXT].decode(errors="ignore")


class Receiver:
    """The reading end."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.ended = False
        """Nobody holds the other end any more."""
        self._rest = b""

    def receive(self) -> list[dict[str, Any]]:
        """The messages that have come since; never blocks."""
        data = self._rest
        with suppress(BlockingIOError):
            while chunk := os.read(self.descriptor, 65536):
                data += chunk
            self.ended = True
        *lines, self._rest = data.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True)
class Links:
    """What a worker has of its supervisor.

    :ivar sender: for what it tells. :ivar orders: for what it is told.
    :ivar lifeline: a descriptor that reaches its end when the supervisor has died.
    """

    sender: Sender
    orders: Receiver
    lifeline: int

    @property
    def descriptors(self) -> list[int]:
        return [self.sender.descriptor, self.orders.descriptor, self.lifeline]
