"""The pipe from a worker to its supervisor: one JSON object per line."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

MAX_TEXT = 600
"""Longest text in a message, in bytes of UTF-8, each of which JSON may escape to six. A write
below PIPE_BUF (4096 on Linux) is atomic: a message goes into the pipe whole or not at all."""


class Sender:
    """The worker's end. Never blocks: a supervisor that does not read loses messages."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    def send(self, kind: str, **values: Any) -> None:
        short = {key: _cut(value) for key, value in values.items()}
        line = json.dumps({"kind": kind, **short}, ensure_ascii=False) + "\n"
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._descriptor, line.encode())


def _cut(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value.encode(errors="replace")[:MAX_TEXT].decode(errors="ignore")


class Receiver:
    """The supervisor's end."""

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
