"""Log files that outlive rotation, and descriptors that outlive detaching."""

from __future__ import annotations

import logging
import logging.handlers
import os
from contextlib import suppress
from pathlib import Path

_OUTPUT_MODE = os.O_WRONLY | os.O_APPEND | os.O_CREAT


class _Output:
    """Where standard output and error of this process, and of its children, go."""

    path: Path | None = None


def note_output(path: str) -> None:
    """Standard output and error go to this file: :func:`reopen` is to open it anew as well."""
    _Output.path = Path(path).absolute()


def output() -> str | None:
    """The file that :func:`note_output` was told."""
    return str(_Output.path) if _Output.path else None


def reopen() -> None:
    """Open every log file anew, for instance after logrotate has moved it away.

    A file that can't be opened leaves its handler as it was. Thread-safe.
    """
    for handler in _handlers():
        with suppress(OSError):
            if isinstance(handler, logging.handlers.WatchedFileHandler):
                handler.reopenIfNeeded()
            elif isinstance(handler, logging.FileHandler):
                _reopen(handler)
    if _Output.path is not None:
        with suppress(OSError):
            descriptor = os.open(_Output.path, _OUTPUT_MODE, 0o644)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os.close(descriptor)


def open_descriptors() -> list[int]:
    """Those of all handlers, the project's own included, for a process that closes all others."""
    descriptors = []
    for handler in _handlers():
        for name in ("stream", "sock", "socket"):  # of files, of sockets, of syslog
            with suppress(AttributeError, OSError, ValueError):  # not there, no real file, closed
                descriptors.append(getattr(handler, name).fileno())
    return descriptors


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
