"""Places at which a test can make a daemon fail.

A process in which :func:`arm` was not called passes them at the cost of one comparison. What there
is to do at a place is a file in a directory of the test's; see :mod:`pooldaemon.testing`.
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
"""A file there, which the test holds locked. A pid would say less: it may be another's by now, or
that of another container."""

POINTS = (
    "before_fork",  # the supervisor, about to fork a worker
    "worker_boot",  # a worker, before worker_init(); also the preflight of a reload
    "before_unit",  # a worker's thread, before perform()
    "after_unit",  # the same after perform(): what it did is done, and nobody knows
    "worker_exit",  # a worker, after its last unit, before worker_exit()
    "hand_over",  # the supervisor in a reload, about to execute the new code in its own place
)

ACTIONS = ("crash", "hang", "raise")

INTERVAL = 0.01
"""Seconds between looks whether a hanging place is released."""


class FaultError(Exception):
    """What a place raises that is told to."""


class _Armed:
    directory: Path | None = None


def arm(variables: Mapping[str, str]) -> None:
    """In the supervisor: heed the test that has started this daemon, if one has.

    :param variables: the environment. Whoever controls it could run any code; here he could only
        end, delay and fail. What this guards against is a variable that went astray.
    :raises ValueError: it does not name the private directory of a test that still runs.
    """
    if (name := variables.get(VARIABLE)) is None:
        return
    directory = Path(name)
    if not _is_locked(directory / OWNER):
        raise ValueError(f"{VARIABLE} is {name!r}: no test that runs has made it; unset it")
    found = directory.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ValueError(f"{VARIABLE} is {name!r}, which others can change as well; unset it")
    _Armed.directory = directory


def _is_locked(path: Path) -> bool:
    import fcntl  # noqa: PLC0415 - not on Windows, where fault points are passed

    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none
        pass
    return False


def warn() -> None:
    """Say in the log that a test can make this daemon fail, if one can."""
    if _Armed.directory is not None:
        logger.warning("%s is set: a test can make this daemon fail", VARIABLE)


def fault_point(name: str) -> None:
    """A place at which a test can make this process crash, hang or raise. Nothing otherwise.

    Thread-safe; for any process that a daemon forks.

    :param name: one of your own has a dot: ``"shop.charged"``.
    :raises FaultError: a test wants it.
    """
    if _Armed.directory is not None:
        _reach(_Armed.directory, name)


def _reach(directory: Path, name: str) -> None:
    for armed in sorted((directory / "armed").glob(f"{name}@*")):
        reached = directory / "reached" / armed.name
        # By one process and one thread: to all others it is gone.
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
