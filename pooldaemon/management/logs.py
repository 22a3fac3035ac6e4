"""Where a daemon's log goes: ``--logfile``, the project's own LOGGING, or stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.core.management.base import CommandError

from pooldaemon.workers.process import log_context
from pooldaemon.workers.process.logfiles import LogFile
from pooldaemon.workers.process.safe_logging import StandardError, protect

FORMAT = (
    "%(asctime)s %(levelname)s [%(process)d %(daemon_worker)s %(daemon_unit)s] "
    "%(name)s: %(message)s"
)


STDERR = "-"
"""As a logfile it stands for standard error."""


@contextmanager
def open_log(logfile: str | None, origin: str = "") -> Iterator[None]:
    """Make sure that the records of this package are seen by somebody, until the end of the block.

    :param logfile: everything goes there; it is opened anew when it has been rotated. ``"-"``:
        standard error.
    :param origin: where it was given, for messages.
    :raises CommandError: the file can't be opened.
    """
    protect()
    logger = package = logging.getLogger("pooldaemon")
    handler: logging.Handler
    if logfile is not None:
        logger, handler = logging.getLogger(), _open(logfile, origin)
    elif not package.hasHandlers():
        handler = StandardError()
    else:  # of the project's LOGGING
        yield
        return
    formatter = logging.Formatter(
        FORMAT, defaults=dict.fromkeys(log_context.FIELDS, log_context.NONE)
    )
    handler.setFormatter(formatter)
    level = package.level
    logger.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.setLevel(level)
        logger.removeHandler(handler)
        with suppress(OSError):  # its disk is full
            handler.close()


def check_log(logfile: str | None, origin: str = "") -> None:
    """
    :raises CommandError: :func:`open_log` would raise it.
    """
    if logfile is not None:
        _open(logfile, origin).close()


def _open(logfile: str, origin: str) -> logging.Handler:
    if logfile == STDERR:
        return StandardError()
    try:
        return LogFile(logfile)
    except OSError as error:
        raise CommandError(f"{origin} {logfile}: {error.strerror}") from None
