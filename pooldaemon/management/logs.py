"""Where a daemon's log goes: ``--logfile``, the project's own LOGGING, or stderr."""

from __future__ import annotations

import logging

from django.core.management.base import CommandError

from pooldaemon.workers import records
from pooldaemon.workers.logfiles import LogFile
from pooldaemon.workers.logs import StandardError, protect

FORMAT = (
    "%(asctime)s %(levelname)s [%(process)d %(daemon_worker)s %(daemon_unit)s] "
    "%(name)s: %(message)s"
)


def open_log(logfile: str | None, origin: str = "") -> None:
    """Make sure that the records of this package are seen by somebody.

    :param logfile: everything goes there; it is opened anew when it has been rotated.
    :param origin: where it was given, for messages.
    :raises CommandError: the file can't be opened.
    """
    protect()
    package = logging.getLogger("pooldaemon")
    if logfile is not None:
        _add(logging.getLogger(), _open(logfile, origin))
    elif not package.hasHandlers():
        _add(package, StandardError())


def check_log(logfile: str | None, origin: str = "") -> None:
    """
    :raises CommandError: :func:`open_log` would raise it.
    """
    if logfile is not None:
        _open(logfile, origin).close()


def _open(logfile: str, origin: str) -> logging.Handler:
    try:
        return LogFile(logfile)
    except OSError as error:
        raise CommandError(f"{origin} {logfile}: {error.strerror}") from None


def _add(logger: logging.Logger, handler: logging.Handler) -> None:
    handler.setFormatter(
        logging.Formatter(FORMAT, defaults=dict.fromkeys(records.FIELDS, records.NONE))
    )
    logger.addHandler(handler)
    logging.getLogger("pooldaemon").setLevel(logging.INFO)
