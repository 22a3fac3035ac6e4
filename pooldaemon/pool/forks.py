"""What a forked child must not do: touch a session of its parent's.

A child inherits the parent's sockets. To close one there, or merely to let its object die, says
goodbye to the server in the parent's name and ends the parent's session. So in the child every
inherited descriptor is first pointed at ``/dev/null``, and then all pools begin anew.

Two things make this hold whoever forks, at whatever moment, also from C (``uWSGI``):

* Every open session is held by a strong reference here. CPython clears the thread-locals of the
  threads that did not survive the fork *before* it runs the hook below, and a connection that
  only a thread-local referred to would die in that moment.
* Nothing is needed before the fork, and no lock of the parent's is taken in the child: what
  might be half changed is thrown away whole.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _Session:
    connection: Any
    descriptors: dict[int, tuple[int, int]]
    """Of its socket, with the device and inode behind each: once it was closed by hand, the number
    may be that of a log file."""


pid = os.getpid()
"""The process that all sessions of the pools belong to. In a child that was just forked it is
still the parent: compare with ``os.getpid()``."""

_sessions: dict[int, _Session] = {}
_starts: list[Callable[[], None]] = []


def keep(connection: Any, descriptors: Iterable[int]) -> None:
    """Hold an open *connection* until :func:`forget`."""
    identities = {descriptor: _identity(descriptor) for descriptor in descriptors}
    _sessions[id(connection)] = _Session(connection, identities)


def forget(connection: Any) -> None:
    """The session is closed."""
    _sessions.pop(id(connection), None)


def at_start_of_child(start: Callable[[], None]) -> None:
    """Call *start* in every forked child, once its inherited sessions are harmless."""
    _starts.append(start)


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _start_child() -> None:
    global pid  # noqa: PLW0603 - there is one process
    null = os.open(os.devnull, os.O_RDWR)
    for session in _sessions.values():
        for descriptor, identity in session.descriptors.items():
            with suppress(OSError):  # closed meanwhile
                if _identity(descriptor) == identity:
                    os.dup2(null, descriptor, inheritable=False)
        # It may never die: SQLite, for one, would clean up after the last of its connections.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session.connection))
    os.close(null)
    _sessions.clear()
    pid = os.getpid()
    for start in _starts:
        start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_child)
