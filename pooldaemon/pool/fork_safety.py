"""What a forked child must not do: touch a session of its parent's.

A child inherits the parent's sockets. To close one there, or merely to let its object die, says
goodbye to the server in the parent's name and ends the parent's session. So in the child every
inherited descriptor is first pointed at ``/dev/null``, and then all pools begin anew.

Five things make this hold whoever forks, at whatever moment:

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
* The child may have no descriptor left, or no ``/dev``. So one of ``/dev/null`` is kept open
  beside the sessions; to put it in the place of another takes none.

An exception may be raised between any two instructions, and the garbage collector may run there. So
nothing here is held by a lock: see :mod:`pooldaemon.pool.tokens`.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import time
import weakref
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


class _Opener:
    """A thread that is opening or closing a session, as long as the object lives."""

    __slots__ = ("__weakref__", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()


_openers: set[weakref.ref[_Opener]] = set()
_forking: dict[int, float] = {}
"""The threads that are about to fork, and until when no session begins to be opened or closed."""


class _Null:
    """``/dev/null``, open from the first session on."""

    descriptor = -1
    identity = (-1, -1)


_starting = threading.RLock()
_starts: list[Callable[[], None]] = []


@contextmanager
def not_now() -> Iterator[None]:
    """While a session is opened or closed: a fork by another thread waits."""
    me = threading.get_ident()
    if me in _open_by():  # the garbage collector closes a session while another one is opened
        yield
        return
    while True:
        opener = _Opener()
        _openers.add(weakref.ref(opener, _openers.discard))
        # Whoever forks says so before it looks, and whoever opens looks afterwards.
        if not _is_forking(me):
            break
        del opener
        time.sleep(BUSY_POLL)
    try:
        yield
    finally:
        del opener


def _open_by() -> set[int]:
    return {opener.thread for ref in _openers.copy() if (opener := ref()) is not None}


def _is_forking(me: int) -> bool:
    if not _forking:
        return False
    now = time.monotonic()
    # Not longer: what should have ended it may have been kept from it by an exception.
    return any(until > now for thread, until in _forking.copy().items() if thread != me)


def keep(connection: Any, descriptors: Iterable[int]) -> None:
    """Hold an open *connection* until :func:`forget`."""
    identities = {descriptor: _identity(descriptor) for descriptor in descriptors}
    _sessions[id(connection)] = _Session(connection, identities)
    if identities and not _has_null():
        with suppress(OSError):  # without it, a child does what it can
            _open_null()


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


def _has_null() -> bool:
    """Whether it is still there: a program may close all descriptors, and use them again."""
    try:
        return _identity(_Null.descriptor) == _Null.identity
    except OSError:
        return False


def _open_null() -> None:
    descriptor = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    _Null.identity = _identity(descriptor)
    _Null.descriptor = descriptor


def _wait_until_quiet() -> None:
    me, deadline = threading.get_ident(), time.monotonic() + BUSY_WAIT
    _forking[me] = deadline
    while _open_by() - {me} and time.monotonic() < deadline:
        time.sleep(BUSY_POLL)
    _forking[me] = time.monotonic() + BUSY_WAIT


def _go_on_in_parent() -> None:
    _forking.pop(threading.get_ident(), None)


def _start_child() -> None:
    global pid  # noqa: PLW0603 - there is one process
    _forking.clear()
    _openers.clear()
    for session in list(_sessions.values()):  # a collected cursor may bring us here once more
        for descriptor, identity in session.descriptors.items():
            with suppress(OSError):  # closed meanwhile
                if _identity(descriptor) == identity:
                    _make_harmless(descriptor)
        # It may never die: SQLite, for one, would clean up after the last of its connections.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session.connection))
    _sessions.clear()
    for start in _starts:
        start()
    pid = os.getpid()
    ours[0] = 1


def _make_harmless(descriptor: int) -> None:
    if not _has_null():
        # There may be no number left. Nobody else is here to take the one that this makes free.
        os.close(descriptor)
        _open_null()
    if _Null.descriptor != descriptor:
        os.dup2(_Null.descriptor, descriptor, inheritable=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_wait_until_quiet,
        after_in_parent=_go_on_in_parent,
        after_in_child=_start_child,
    )
