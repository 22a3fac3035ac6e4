"""The pipes between a supervisor and a worker, one for each direction: a JSON object per line.

Two pipes rather than a pair of sockets: a worker that was forked before a reload, by a version
that knew one pipe only, goes on with that.
"""

from __future__ import annotations

import errno
import json
import os
import select
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

LONGEST = 4096
"""Bytes of a message. A write of up to PIPE_BUF, which this is on Linux, is atomic: it goes into
the pipe whole or not at all."""

MAX_TEXT = 600
"""Longest text in a message, in bytes of UTF-8, each of which JSON may escape to six."""


REPEATED = frozenset({"heartbeat", "pool", "units", "told"})
"""Kinds of messages of which the next one tells all that the last one did. If the pipe is full they
are dropped; all others are kept until there is room."""

MOST_KEPT = 10_000
"""Messages that are kept at the most, the newest ones."""

FLUSH_INTERVAL = 0.5
"""Seconds between looks whether messages that are kept have been taken by another thread."""


class Sender:
    """The writing end. Never blocks, but for :meth:`drain`. Raises nothing. Thread-safe, also for a
    call by the garbage collector in the middle of another call.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._kept: deque[bytes] = deque(maxlen=MOST_KEPT)
        self._writing = threading.Lock()

    def send(self, kind: str, **values: Any) -> bool:
        """``False``: it was not sent, since it is longer than :data:`LONGEST`.

        One who does not read for long loses messages of the kinds in :data:`REPEATED`.
        """
        short = {key: _cut(value) for key, value in values.items()}
        text = json.dumps({"kind": kind, **short}, ensure_ascii=False)
        # A lone surrogate, as os.fsdecode() makes it, may be in any name.
        line = text.encode(errors="replace") + b"\n"
        if len(line) > LONGEST:
            return False
        self._kept.append(line)
        if not self.flush() and (kind in REPEATED or _is_interim(kind, values)):
            with suppress(ValueError):  # another thread has just written it
                self._kept.remove(line)
        return True

    def flush(self) -> bool:
        """Write what is kept, as far as there is room. Returns whether there was enough."""
        # Not waited for: whoever has it writes ours as well, or looks again after it.
        while self._kept and self._writing.acquire(blocking=False):
            try:
                if not self._write():
                    return False
            finally:
                self._writing.release()
        return True

    def _write(self) -> bool:
        while self._kept:
            line = self._kept.popleft()
            try:
                os.write(self.descriptor, line)
            except OSError as error:
                if error.errno in (errno.EPIPE, errno.EBADF):  # nobody is there any more
                    self._kept.clear()
                    return True
                self._kept.appendleft(line)
                return False
        return True

    def drain(self) -> None:
        """Wait until nothing is kept any more: for the end of the process."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLOUT)
        while self._kept:
            poll.poll(FLUSH_INTERVAL * 1000)
            self.flush()

    def close(self) -> None:
        os.close(self.descriptor)


def _is_interim(kind: str, values: Mapping[str, Any]) -> bool:
    """Whether it is a unit's progress, and not the end of it."""
    return kind == "progress" and values.get("done") is not None


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
        """The messages that have come since; never blocks.

        :raises OSError: it can't be read just now.
        """
        try:
            while chunk := os.read(self.descriptor, 65536):
                self._rest += chunk
            self.ended = True
        except BlockingIOError:
            pass
        except OSError:
            if b"\n" not in self._rest:  # what has come is not lost
                raise
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True)
class Links:
    """What a worker has of its supervisor.

    :ivar sender: for what it tells. :ivar commands: for what it is told.
    :ivar parent-death pipe: a descriptor that reaches its end when the supervisor has died.
    """

    sender: Sender
    commands: Receiver
    parent_death_pipe: int

    @property
    def descriptors(self) -> list[int]:
        return [self.sender.descriptor, self.commands.descriptor, self.parent_death_pipe]
