"""Where a daemon logs to: ``--logfile``, the handlers of the project's LOGGING, or stderr."""

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
"""The value of ``--logfile`` for standard error."""


@contextmanager
def open_log(logfile: str | None, origin: str = "") -> Iterator[None]:
    """Give this package's log records a handler, until the end of the block.

    Without *logfile* the project's own handlers are used; if there are none, standard error.

    :param logfile: the file for all log records, also those of other packages. It is reopened after
        rotation. ``"-"``: standard error.
    :param origin: where *logfile* was given, for messages.
    :raises CommandError: the file can't be opened.
    """
    protect()
    logger = package = logging.getLogger("pooldaemon")
    handler: logging.Handler
    if logfile is not None:
        logger, handler = logging.getLogger(), _open(logfile, origin)
    elif not package.hasHandlers():
        handler = StandardError()
    else:  # the project's LOGGING has handlers
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
        with suppress(OSError):  # such as a full disk
            handler.close()


def check_log(logfile: str | None, origin: str = "") -> None:
    """Check that the log file can be opened.

    :raises CommandError: as of :func:`open_log`.
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
