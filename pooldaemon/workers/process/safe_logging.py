"""No log call of ours raises, or blocks for long, whatever handlers a project has.

A handler of ``logging`` may raise: ``WatchedFileHandler`` does if its file can't be opened. And it
may block: on a pipe that nobody reads, on a mail server. A supervisor that logs the death of one
worker has others to look after; so :func:`protect` puts the call of each handler under guard. What
fails is told on standard error, once, and by ``status`` for as long as it lasts.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from pooldaemon.backoff import Backoff
from pooldaemon.workers.process.errors import in_a_line

LOGGERS = (
    *("pooldaemon.supervisor", "pooldaemon.workers", "pooldaemon.signals"),
    *("pooldaemon.connections", "pooldaemon.pool", "pooldaemon.metrics"),
    *("pooldaemon.dashboard", "pooldaemon.faults"),
)
"""All of this package."""

LONGEST_CALL = 5.0
"""Seconds that a handler may take in a process's main thread."""

DELAYS = 1.0, 60.0
"""First and longest delay, in seconds, before a handler that took too long is called again."""

PATIENCE = 1.0
"""Seconds that a record waits for standard error, which may be a pipe, to be read."""

STDERR = 2

if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler


@dataclass
class Trouble:
    """Of one handler, from its first failure to its next success."""

    error: str = ""
    since: float = field(default_factory=time.monotonic)
    lost: int = 0
    """Records that it has not written."""
    retry_at: float = float("-inf")
    backoff: Backoff = field(default_factory=lambda: Backoff(*DELAYS))


_troubles: dict[logging.Handler, Trouble] = {}


class SafeHandler(logging.Handler):
    """For handlers of our own: what the system refuses is no error, whoever has logged.

    A mix-in, whose ``emit`` may raise ``OSError``.
    """

    def handle(self, record: logging.LogRecord) -> Any:
        try:
            handled = super().handle(record)
        except OSError as error:
            note_failure(self, error)
            return False
        except Exception:  # noqa: BLE001 - the record can't be formatted, as logging tells it
            self.handleError(record)
            return False
        note_success(self)
        return handled


class StandardError(SafeHandler, _StreamHandler):
    """Writes to standard error, and waits no longer than :data:`PATIENCE` for one who reads it."""

    where = "standard error"

    def __init__(self) -> None:
        super().__init__()
        self._patience = PATIENCE

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record) + self.terminator
        try:
            descriptor = self.stream.fileno()
        except (AttributeError, OSError, ValueError):  # no real file: somebody captures it
            self.stream.write(line)
            self.stream.flush()
        else:
            self._write(descriptor, line.encode(errors="backslashreplace"))

    def _write(self, descriptor: int, data: bytes) -> None:
        # What has room for a little may block on more. To a file all is written at once: there
        # the lines of several processes must not mix.
        piece = len(data) if stat.S_ISREG(os.fstat(descriptor).st_mode) else select.PIPE_BUF
        while data:
            if not takes(descriptor, self._patience):
                self._patience = 0.0  # until it is read again
                raise BlockingIOError(errno.EAGAIN, "nobody reads it")
            data = data[os.write(descriptor, data[:piece]) :]
        self._patience = PATIENCE


def protect() -> None:
    """Let no log call of this package raise or block for long, here and in forked children."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        # On the object: its class is the project's to choose, and its own loggers stay as they are.
        setattr(logger, "callHandlers", partial(_call_handlers, logger))  # noqa: B010


def describe_troubles() -> list[dict[str, Any]]:
    """The handlers of this process that fail just now, as JSON takes it."""
    now = time.monotonic()
    return [
        {
            "what": f"log to {name_of(handler)}",
            "error": trouble.error,
            "for": round(now - trouble.since, 1),
            "times": trouble.lost,
        }
        for handler, trouble in list(_troubles.items())
    ]


def note_failure(handler: logging.Handler, error: BaseException) -> None:
    """A record was lost. Thread-safe; raises nothing."""
    told = in_a_line(error)
    trouble = _troubles.setdefault(handler, Trouble())
    trouble.lost += 1
    is_news, trouble.error = trouble.error != told, told
    if is_news:
        tell(f"pooldaemon: can't log to {name_of(handler)}: {told}")


def note_success(handler: logging.Handler) -> None:
    """Thread-safe; raises nothing."""
    if (trouble := _troubles.pop(handler, None)) is not None:
        seconds = time.monotonic() - trouble.since
        tell(
            f"pooldaemon: can log to {name_of(handler)} again, after {seconds:.1f} s and "
            f"{trouble.lost} lost records"
        )


def name_of(handler: logging.Handler) -> str:
    """Where it writes, as far as it tells."""
    where = getattr(handler, "where", None) or getattr(handler, "baseFilename", None)
    return str(where or handler.get_name() or type(handler).__name__)


def tell(text: str) -> None:
    """On standard error, if that takes it at once."""
    with suppress(OSError):
        if takes(STDERR, 0.0):
            os.write(STDERR, f"{text}\n".encode())


def takes(descriptor: int, seconds: float) -> bool:
    """Whether a short write to it would not block, or would not after *seconds* at the most."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    """As ``Logger.callHandlers`` does it, each handler on its own."""
    found = False
    current: logging.Logger | None = logger
    while current is not None:
        for handler in current.handlers:
            found = True
            if record.levelno >= handler.level:
                _call(handler, record)
        current = current.parent if current.propagate else None
    last = logging.lastResort
    if not found and last is not None and record.levelno >= last.level:
        _call(last, record)


def _call(handler: logging.Handler, record: logging.LogRecord) -> None:
    trouble = _troubles.get(handler)
    if trouble is not None and time.monotonic() < trouble.retry_at:
        trouble.lost += 1
        return
    try:
        with time_limit(LONGEST_CALL):
            handler.handle(record)
    except TimeoutError as error:
        note_failure(handler, error)
        if (trouble := _troubles.get(handler)) is not None:
            trouble.retry_at = time.monotonic() + trouble.backoff.next_delay()
    except Exception as error:  # noqa: BLE001 - a line in the log is not worth a worker
        note_failure(handler, error)
    else:
        if not isinstance(handler, SafeHandler):  # which tells itself
            note_success(handler)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Break off what blocks in the block, in the main thread. An alarm that is set already stays,
    and if it comes earlier it is the limit.

    :raises TimeoutError: it has been broken off.
    """
    alarm, interval = signal.getitimer(signal.ITIMER_REAL)
    if threading.current_thread() is not threading.main_thread() or 0 < alarm <= seconds:
        yield
        return
    within = True

    def break_off(number: int, frame: FrameType | None) -> None:
        if within:
            raise TimeoutError(f"it took longer than {seconds:g} s")

    began = time.monotonic()
    previous = signal.signal(signal.SIGALRM, break_off)
    # Again and again: code that is broken off may catch the error, and block once more.
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds / 10)
    try:
        yield
    finally:
        within = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)
        if alarm:
            left = max(0.001, alarm - (time.monotonic() - began))
            signal.setitimer(signal.ITIMER_REAL, left, interval)
