"""Fault points: places in the code at which a test can make a daemon fail.

Without :func:`arm`, a fault point costs one comparison. What to do at a fault point is a file in a
directory of the test; see :mod:`pooldaemon.testing`.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger("pooldaemon.faults")

VARIABLE = "POOLDAEMON_FAULTS"
"""The environment variable that names the directory."""

OWNER = "owner"
"""A file in it that the test keeps locked. A pid would not do: by now it may be another process's,
or from another container."""

POINTS = (
    "before_fork",  # in the supervisor, before it forks a worker
    "worker_boot",  # in a worker, before worker_init(); also in the preflight of a reload
    "before_unit",  # in a worker thread, before perform()
    "after_unit",  # in a worker thread, after perform(): its work is done, but not reported yet
    "worker_exit",  # in a worker, after its last unit, before worker_exit()
    "hand_over",  # in the supervisor, before it executes the new code of a reload
)

ACTIONS = ("crash", "hang", "raise")

INTERVAL = 0.01
"""Seconds between two checks whether a hanging fault point has been released."""


class FaultError(Exception):
    """Raised by a fault point with the action ``"raise"``."""


class _Armed:
    directory: Path | None = None


def arm(variables: Mapping[str, str]) -> None:
    """In the supervisor: enable fault points, if a test has started this daemon.

    The checks guard against a variable that was copied into another environment by mistake.

    :param variables: the environment.
    :raises ValueError: the variable does not name the private directory of a test that still runs.
    """
    if (name := variables.get(VARIABLE)) is None:
        return
    directory = Path(name)
    if not _is_locked(directory / OWNER):
        raise ValueError(
            f"{VARIABLE} is {name!r}, which is not the directory of a running test; unset it"
        )
    found = directory.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ValueError(f"{VARIABLE} is {name!r}, to which others have access; unset it")
    _Armed.directory = directory


def _is_locked(path: Path) -> bool:
    import fcntl  # noqa: PLC0415 - not on Windows, where fault points can't be armed

    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no such file
        pass
    return False


def warn() -> None:
    """Log that a test can make this daemon fail, if fault points are armed."""
    if _Armed.directory is not None:
        logger.warning("%s is set: a test can make this daemon fail", VARIABLE)


def fault_point(name: str) -> None:
    """A fault point: a test can make the process crash, hang or raise here. Otherwise does nothing.

    Thread-safe, and valid in all processes of a daemon.

    :param name: one of ``pooldaemon.faults.POINTS``; the name of your own fault point has a dot:
        ``"shop.charged"``.
    :raises FaultError: the test has armed it with ``"raise"``.
    """
    if _Armed.directory is not None:
        _reach(_Armed.directory, name)


def _reach(directory: Path, name: str) -> None:
    for armed in sorted((directory / "armed").glob(f"{name}@*")):
        reached = directory / "reached" / armed.name
        # Only one process and one thread can rename it: for all others it is missing.
        with suppress(FileNotFoundError):
            armed.rename(reached)
            _fail(name, armed.name.rpartition("@")[2], reached)
            return


def _fail(name: str, action: str, reached: Path) -> None:
    logger.warning("Fault point %s: %s", name, action)
    match action:
        case "crash":
            os._exit(os.EX_SOFTWARE)
        case "raise":
            raise FaultError(name)
        case "hang":
            while reached.exists():
                time.sleep(INTERVAL)
