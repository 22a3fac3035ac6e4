"""What a forked child must not do: touch a session of its parent's.

A child inherits the parent's sockets. To close one there, or merely to let its object die, says
goodbye to the server in the parent's name and ends the parent's session. So in the child every
inherited descriptor is first pointed at ``/dev/null``, and then all pools begin anew.

Four things make this hold whoever forks, at whatever moment:

* Every open session is held by a strong reference here. CPython clears the thread-locals of the
  threads that did not survive the fork *before* it runs the hook below, and a connection that
  only a thread-local referred to would die in that moment.
* In that moment code of those threads may run: a generator that ends its transaction, a cursor
  that reads the rest of its result. And a fork in C (uWSGI's) runs no hook at all. So whoever is
  about to use a session calls :func:`check`.
* No lock of the parent's is taken in the child: what might be half changed is thrown away whole.
* OpenSSL and the client library have locks too, held for moments while a session is opened or
  closed. One that is held during the fork stays locked in the child, which would hang in its own
  first connect, or when it exits. So a fork waits until no session is being opened or closed.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

BUSY_WAIT = 5.0
"""Seconds a fork waits for sessions that are being opened or closed. A TLS handshake takes some
hundredths, on a busy machine tenths; what takes longer than this waits for a server that does not
answer, and holds no lock."""

BUSY_POLL = 0.001

MADV_WIPEONFORK = 18
"""Linux since 4.14: a child finds nothing but zeros there. Python's mmap has no name for it."""


@dataclass(frozen=True)
class _Session:
    connection: Any
    descriptors: dict[int, tuple[int, int]]
    """Of its socket, with the device and inode behind each: once it was closed by hand, the number
    may be that of a log file."""


pid = os.getpid()
"""The process that the sessions belong to."""


class _ByPid:
    """Asks for the process's number: a system call each time."""

    def __getitem__(self, index: int) -> bool:
        return os.getpid() == pid

    def __setitem__(self, index: int, value: int) -> None:
        """``pid`` tells."""


def _wiped_on_fork() -> mmap.mmap | _ByPid:
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(MADV_WIPEONFORK)
    except (AttributeError, OSError):  # another system, or an older kernel
        return _ByPid()
    page[0] = 1
    return page


ours = _wiped_on_fork()
"""``ours[0]`` is true where the sessions are this process's own. Falls to 0 in a forked child by
the kernel's doing, also when the fork was made in C. For the hot paths, instead of the call of
:func:`check`."""

_sessions: dict[int, _Session] = {}
_busy: set[int] = set()
"""The threads that are opening or closing a session."""
_gate = threading.RLock()  # a signal handler may fork in the thread that holds it
"""Held during a fork: no session begins to be opened or closed."""
_starting = threading.RLock()
_starts: list[Callable[[], None]] = []


@contextmanager
def not_now() -> Iterator[None]:
    """While a session is opened or closed: a fork by another thread waits."""
    thread = threading.get_ident()
    if thread in _busy:  # the garbage collector closes a session while another one is opened
        yield
        return
    with _gate:
        _busy.add(thread)
    try:
        yield
    finally:
        _busy.discard(thread)


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


def check() -> None:
    """Before a session is used: in a child that has not done so yet, make the parent's harmless."""
    if not ours[0]:
        with _starting:  # forked in C, it may have started threads by now
            if not ours[0]:
                _start_child()


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _wait_until_quiet() -> None:
    deadline = time.monotonic() + BUSY_WAIT
    _gate.acquire(timeout=BUSY_WAIT)
    while _busy - {threading.get_ident()} and time.monotonic() < deadline:
        time.sleep(BUSY_POLL)


def _go_on_in_parent() -> None:
    with suppress(RuntimeError):  # it was not to be had in time
        _gate.release()


def _start_child() -> None:
    global pid, _gate  # noqa: PLW0603 - there is one process
    _gate = threading.RLock()
    _busy.clear()
    null = os.open(os.devnull, os.O_RDWR)
    for session in list(_sessions.values()):  # a collected cursor may bring us here once more
        for descriptor, identity in session.descriptors.items():
            with suppress(OSError):  # closed meanwhile
                if _identity(descriptor) == identity:
                    os.dup2(null, descriptor, inheritable=False)
        # It may never die: SQLite, for one, would clean up after the last of its connections.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session.connection))
    os.close(null)
    _sessions.clear()
    for start in _starts:
        start()
    pid = os.getpid()
    ours[0] = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_wait_until_quiet,
        after_in_parent=_go_on_in_parent,
        after_in_child=_start_child,
    )
