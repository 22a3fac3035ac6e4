"""The pipes between a supervisor and a worker, one for each direction: a JSON object per line.

Two pipes rather than a pair of sockets, so that a worker can do without the one for commands: a
reload may leave workers that an older version of this package has forked.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from pooldaemon.workers.process.shapes import Shape, misfit, shown

logger = logging.getLogger("pooldaemon.supervisor")

MAX_MESSAGE = 4096
"""Bytes. A write of up to PIPE_BUF bytes, which is 4096 on Linux, is atomic: it goes into the pipe
as a whole or not at all."""

MAX_TEXT = 600
"""Bytes of a text in a message, in UTF-8. JSON may need six bytes for one of them."""


REPEATED = frozenset({"heartbeat", "pool", "units", "report_end"})
"""Kinds of messages that the next one of the same kind makes obsolete. They are dropped while the
pipe is full; all other messages are kept until there is room."""

MAX_KEPT = 10_000
"""Messages that are kept while the pipe is full. Beyond that the oldest are dropped."""

MAX_READS = 16
"""Reads in one call, of 64 KiB each, so that a sender that never pauses does not block others."""

FLUSH_INTERVAL = 0.5
"""Seconds between checks whether another thread has written the messages that were kept."""


class Sender:
    """The writing end of a pipe. Raises nothing, and never blocks, except :meth:`drain`.

    Thread-safe, even when the garbage collector calls it in the middle of another call.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._kept: deque[bytes] = deque(maxlen=MAX_KEPT)
        self._writing = threading.Lock()

    def send(self, kind: str, **values: Any) -> bool:
        """Write a message, or keep it if the pipe is full, unless its kind is in :data:`REPEATED`.

        :param values: as JSON; texts are cut to :data:`MAX_TEXT`.
        :returns: ``False`` if the message is longer than :data:`MAX_MESSAGE` and was dropped.
        """
        short = {key: _cut(value) for key, value in values.items()}
        text = json.dumps({"kind": kind, **short}, ensure_ascii=False)
        # A name may contain lone surrogates, as os.fsdecode() makes them.
        line = text.encode(errors="replace") + b"\n"
        if len(line) > MAX_MESSAGE:
            return False
        self._kept.append(line)
        if not self.flush() and (kind in REPEATED or _is_interim(kind, values)):
            with suppress(ValueError):  # another thread has just written it
                self._kept.remove(line)
        return True

    def flush(self) -> bool:
        """Write the messages that are kept, until the pipe is full; returns whether all fitted."""
        # Who holds the lock writes our message as well, or looks for it after releasing the lock.
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
                if error.errno in (errno.EPIPE, errno.EBADF):  # the pipe has been closed
                    self._kept.clear()
                    return True
                self._kept.appendleft(line)
                return False
        return True

    def drain(self) -> None:
        """Block until all messages that are kept are written. For the end of the process."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLOUT)
        while self._kept:
            poll.poll(FLUSH_INTERVAL * 1000)
            self.flush()

    def close(self) -> None:
        os.close(self.descriptor)


def _is_interim(kind: str, values: Mapping[str, Any]) -> bool:
    """Whether it is the progress of a unit that has not ended."""
    return kind == "progress" and values.get("done") is not None


def _cut(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value.encode(errors="replace")[:MAX_TEXT].decode(errors="ignore")


class Receiver:
    """The reading end of a pipe. Not thread-safe.

    :param kinds: the shapes of messages, by kind; other messages of these kinds are dropped.
        Messages of kinds that are not in it are not checked. Default: none.
    :param sender: the name of the process at the other end, for the log.
    """

    def __init__(
        self,
        descriptor: int,
        kinds: Mapping[str, Shape] = {},
        sender: str = "a pipe",
    ) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.ended = False
        """Whether the other end has been closed by all processes."""
        self._kinds = kinds
        self._sender = sender
        self._rest = b""
        self._has_warned = False

    def receive(self) -> list[dict[str, Any]]:
        """The messages that have arrived since the last call. Never blocks.

        Anything else in the pipe is dropped: the code of a unit may write to any descriptor.

        :raises OSError: the pipe can't be read, as when there is no memory.
        """
        lines: list[bytes] = []
        try:
            for _ in range(MAX_READS):
                if not (chunk := os.read(self.descriptor, 65536)):
                    self.ended = True
                    break
                *whole, self._rest = (self._rest + chunk).split(b"\n")
                lines += whole
                self._rest = self._rest[: MAX_MESSAGE + 1]  # no message is longer
        except BlockingIOError:
            pass
        except OSError:
            if not lines:  # messages that were read before are returned
                raise
        return [message for line in lines if (message := self._read(line)) is not None]

    def _read(self, line: bytes) -> dict[str, Any] | None:
        try:
            message = json.loads(line[: MAX_MESSAGE + 1], parse_constant=refuse_constant)
        except (ValueError, RecursionError):
            wrong: str | None = f"{shown(line)} is not JSON"
        else:
            kind = message.get("kind") if isinstance(message, dict) else None
            if not isinstance(kind, str):
                wrong = f"{shown(message)} is not a message"
            elif (wrong := misfit(self._kinds.get(kind, {}), message, kind)) is None:
                return cast("dict[str, Any]", message)
        self._warn(wrong)
        return None

    def _warn(self, wrong: str | None) -> None:
        if not self._has_warned:  # once, since there may be thousands
            self._has_warned = True
            logger.warning("Invalid messages from %s are dropped: %s", self._sender, wrong)

    def close(self) -> None:
        os.close(self.descriptor)


def refuse_constant(constant: str) -> NoReturn:
    """For NaN and Infinity, which Python reads although JSON does not have them."""
    raise ValueError(constant)


@dataclass(frozen=True)
class Links:
    """A worker's ends of the pipes between it and the supervisor.

    :ivar sender: for its messages to the supervisor.
    :ivar commands: for the supervisor's commands to its pools.
    :ivar parent_death_pipe: a descriptor that reaches end of file when the supervisor has died.
    """

    sender: Sender
    commands: Receiver
    parent_death_pipe: int

    @property
    def descriptors(self) -> list[int]:
        return [self.sender.descriptor, self.commands.descriptor, self.parent_death_pipe]
