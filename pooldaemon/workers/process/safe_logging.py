"""Keeps this package's log calls from raising, or blocking for long, whatever the handlers do.

A handler may raise, as ``WatchedFileHandler`` does if its file can't be opened, or block, on a pipe
that nobody reads or on a mail server. Neither must stop a supervisor. So :func:`protect` catches
exceptions of each handler and limits its time. A failure is reported once on standard error, and by
``status`` as long as it lasts.
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
"""All loggers of this package."""

LONGEST_CALL = 5.0
"""Seconds that a handler may take. Enforced in the main thread only."""

DELAYS = 1.0, 60.0
"""First and longest delay, in seconds, before a handler that has timed out is called again."""

PATIENCE = 1.0
"""Seconds that a record waits until standard error, which may be a full pipe, can be written to."""

STDERR = 2

if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler


@dataclass
class Trouble:
    """The failures of one handler, from the first one to its next success."""

    error: str = ""
    since: float = field(default_factory=time.monotonic)
    lost: int = 0
    """Records that the handler has not written."""
    retry_at: float = float("-inf")
    backoff: Backoff = field(default_factory=lambda: Backoff(*DELAYS))


_troubles: dict[logging.Handler, Trouble] = {}


class SafeHandler(logging.Handler):
    """A mixin for handlers of this package, whose ``emit()`` may raise ``OSError``: the error is
    reported, and not raised in the code that has logged."""

    def handle(self, record: logging.LogRecord) -> Any:
        try:
            handled = super().handle(record)
        except OSError as error:
            note_failure(self, error)
            return False
        except Exception:  # noqa: BLE001 - the record can't be formatted: logging reports it
            self.handleError(record)
            return False
        note_success(self)
        return handled


class StandardError(SafeHandler, _StreamHandler):
    """Writes to standard error, and waits at most :data:`PATIENCE` if it is a full pipe."""

    where = "standard error"

    def __init__(self) -> None:
        super().__init__()
        self._patience = PATIENCE

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record) + self.terminator
        try:
            descriptor = self.stream.fileno()
        except (AttributeError, OSError, ValueError):  # it is captured, and not a real file
            self.stream.write(line)
            self.stream.flush()
        else:
            self._write(descriptor, line.encode(errors="backslashreplace"))

    def _write(self, descriptor: int, data: bytes) -> None:
        # In small pieces to a pipe: one that has room for a little may block on more. To a file at
        # once, or the lines of several processes would mix.
        piece = len(data) if stat.S_ISREG(os.fstat(descriptor).st_mode) else select.PIPE_BUF
        while data:
            if not is_writable(descriptor, self._patience):
                self._patience = 0.0  # until it is read again
                raise BlockingIOError(errno.EAGAIN, "the pipe is full, nobody reads it")
            data = data[os.write(descriptor, data[:piece]) :]
        self._patience = PATIENCE


def protect() -> None:
    """Keep log calls of this package from raising and blocking, here and in forked children."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        # On the object: the project chooses its class, and its own loggers stay unchanged.
        setattr(logger, "callHandlers", partial(_call_handlers, logger))  # noqa: B010


def describe_troubles() -> list[dict[str, Any]]:
    """The handlers of this process that are failing now, for ``status``."""
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
    """*handler* has not written a record. Thread-safe; raises nothing."""
    text = in_a_line(error)
    trouble = _troubles.setdefault(handler, Trouble())
    trouble.lost += 1
    is_news, trouble.error = trouble.error != text, text
    if is_news:
        write_to_stderr(f"pooldaemon: can't log to {name_of(handler)}: {text}")


def note_success(handler: logging.Handler) -> None:
    """*handler* has written a record. Thread-safe; raises nothing."""
    if (trouble := _troubles.pop(handler, None)) is not None:
        seconds = time.monotonic() - trouble.since
        lost = "1 record was lost" if trouble.lost == 1 else f"{trouble.lost} records were lost"
        write_to_stderr(
            f"pooldaemon: can log to {name_of(handler)} again after {seconds:.1f} s; {lost}"
        )


def name_of(handler: logging.Handler) -> str:
    """Where the handler writes to, or its name or class."""
    where = getattr(handler, "where", None) or getattr(handler, "baseFilename", None)
    return str(where or handler.get_name() or type(handler).__name__)


def write_to_stderr(text: str) -> None:
    """Write a line to standard error, unless that would block."""
    with suppress(OSError):
        if is_writable(STDERR, 0.0):
            os.write(STDERR, f"{text}\n".encode())


def is_writable(descriptor: int, seconds: float) -> bool:
    """Wait for up to *seconds* until a short write would not block; returns whether that is so."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Like ``Logger.callHandlers()``, but a failing handler does not affect the others."""
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
        if not isinstance(handler, SafeHandler):  # which has reported its own success or failure
            note_success(handler)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the time of the block. Uses ``SIGALRM``: in other threads than the main one there is no
    limit. A timer that is set already continues afterwards; if it is due before, there is no limit
    either.

    :raises TimeoutError: in the block, after *seconds*.
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
    # Repeated, since the code may catch the error and block again.
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
