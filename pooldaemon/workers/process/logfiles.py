"""Log files: reopened after rotation, and kept open while the daemon detaches."""

from __future__ import annotations

import errno
import logging
import logging.handlers
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pooldaemon.workers.process.files import refuse_kind
from pooldaemon.workers.process.privileges import is_roots_directory
from pooldaemon.workers.process.safe_logging import SafeHandler

_OUTPUT_MODE = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def open_logfile(path: str, flags: int = _OUTPUT_MODE) -> int:
    """Open a log file; returns the descriptor. Can be used as the *opener* of ``open()``.

    As root, a symbolic link is followed only in directories to which nobody else can write.

    :raises OSError: the file can't be opened, or is of a type that could block the writer, such as
        a FIFO.
    """
    flags |= os.O_NONBLOCK | os.O_CLOEXEC
    if os.geteuid() == 0 and not is_roots_directory(Path(path).absolute().parent):
        flags |= os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            refuse_kind(Path(path).lstat(), but=stat.S_IFCHR)
        raise
    try:
        refuse_kind(os.fstat(descriptor), but=stat.S_IFCHR)  # /dev/null, a terminal
    except OSError:
        os.close(descriptor)
        raise
    os.set_blocking(descriptor, True)
    return descriptor


class LogFile(SafeHandler, logging.handlers.WatchedFileHandler):
    """Writes to a file, and reopens it when it has been moved away.

    If it can't be reopened, records are written to the old file, and the failure is reported.

    :raises OSError: the file can't be opened at first.
    """

    def _open(self) -> Any:
        return open(
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            errors=self.errors,
            opener=open_logfile,
        )

    def emit(self, record: logging.LogRecord) -> None:
        failure = None
        try:
            self.reopenIfNeeded()
        except OSError as error:
            failure = error
        if self.stream is not None:
            self.stream.write(self.format(record) + self.terminator)
            self.stream.flush()
        if failure is not None:
            raise failure

    def reopenIfNeeded(self) -> None:  # noqa: N802 - the base's name
        """Like the base class, but the old stream is closed only after the new one is open."""
        stream = self.stream
        if stream is not None and not self._is_current(stream.fileno()):
            self.stream = self._open()
            stream.close()

    def _is_current(self, descriptor: int) -> bool:
        try:
            found = Path(self.baseFilename).stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(descriptor))


class _Output:
    """The file that standard output and error of this process are redirected to."""

    path: Path | None = None


def note_output(path: str) -> None:
    """Standard output and error go to this file, which :func:`reopen` has to reopen as well."""
    _Output.path = Path(path).absolute()


def output() -> str | None:
    """The file of :func:`note_output`; ``None`` if there is none."""
    return str(_Output.path) if _Output.path else None


def reopen() -> None:
    """Reopen every log file, for example after logrotate has moved it away.

    If a file can't be opened, its handler keeps the old one. Thread-safe.
    """
    for handler in _handlers():
        with suppress(OSError):
            if isinstance(handler, logging.handlers.WatchedFileHandler):
                _reopen_watched(handler)
            elif isinstance(handler, logging.FileHandler):
                _reopen(handler)
    if _Output.path is not None:
        with suppress(OSError):
            descriptor = open_logfile(str(_Output.path))
            try:
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
            finally:
                os.close(descriptor)


def open_descriptors() -> list[int]:
    """The descriptors of all log handlers, including the project's, which detaching must not
    close."""
    descriptors = []
    for handler in _handlers():
        for name in ("stream", "sock", "socket"):  # of files, of sockets, of syslog
            with suppress(AttributeError, OSError, ValueError):  # not there, no real file, closed
                descriptors.append(getattr(handler, name).fileno())
    return descriptors


def open_standard_streams() -> None:
    """Open missing standard streams on ``/dev/null``: a process may be started without (``2>&-``).

    A file that is opened later would get their descriptors, and with them what is written to
    standard error.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.dup2(descriptor, number)
            if descriptor != number:
                os.close(descriptor)
        if getattr(sys, name) is None:
            # A descriptor of its own: the one of that number may belong to another file by now.
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - open to the end


def _reopen_watched(handler: logging.handlers.WatchedFileHandler) -> None:
    handler.acquire()
    try:
        handler.reopenIfNeeded()
    finally:
        handler.release()


def _reopen(handler: logging.FileHandler) -> None:
    handler.acquire()
    try:
        if handler.stream is not None:
            fresh = handler._open()
            handler.stream.close()
            handler.stream = fresh
    finally:
        handler.release()


def _handlers() -> set[logging.Handler]:
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    return {handler for logger in loggers for handler in logger.handlers}
