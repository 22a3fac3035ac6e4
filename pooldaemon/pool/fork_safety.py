"""Keeps a forked child from touching the sessions of its parent.

A child inherits the parent's sockets. If it closes one, or lets its object die, the server gets a
goodbye in the parent's name and ends the parent's session. So in the child every inherited
descriptor is first pointed at ``/dev/null``, and then all pools start empty.

Five things make this hold whoever forks, at whatever moment:

* Every open session is held by a strong reference here. CPython clears the thread-locals of threads
  that did not survive the fork *before* it runs the hook below. A connection to which only a
  thread-local refers would die in that moment.
* In that moment code of those threads may run: a generator that ends its transaction, a cursor that
  reads the rest of its result. And a fork in C (uWSGI's) runs no hook at all. So every use of a
  session calls :func:`check` first.
* No lock of the parent is taken in the child. What might be half changed is replaced as a whole.
* OpenSSL and the client library have locks too, held for moments while a session is opened or
  closed. One that is held during the fork stays locked in the child, which would hang in its first
  connect or at its exit. So a fork waits until no session is being opened or closed.
* The child may have no free descriptor, or no ``/dev``. So ``/dev/null`` is kept open beside the
  sessions. ``dup2`` from it needs no free descriptor.

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
hundredths of a second, on a busy machine tenths. What takes longer waits for a server that does not
answer, and holds no lock."""

BUSY_POLL = 0.001

MADV_WIPEONFORK = 18
"""Linux since 4.14: a child finds zeros in such memory. Python's mmap has no name for it."""


@dataclass(frozen=True)
class _Session:
    connection: Any
    descriptors: dict[int, tuple[int, int]]
    """Of its socket, with device and inode of each: after a close by hand the number may belong to
    a
    log file."""


pid = os.getpid()
"""The process that the sessions belong to."""


class _ByPid:
    """Compares the process number, which takes a system call each time."""

    def __getitem__(self, index: int) -> bool:
        return os.getpid() == pid

    def __setitem__(self, index: int, value: int) -> None:
        """Nothing is stored: the pid is asked for each time."""


def _wiped_on_fork() -> mmap.mmap | _ByPid:
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(MADV_WIPEONFORK)
    except (AttributeError, OSError):  # another system, or an older kernel
        return _ByPid()
    page[0] = 1
    return page


ours = _wiped_on_fork()
"""``ours[0]`` is 1 where the sessions belong to this process. The kernel sets it to 0 in a forked
child, also if the fork was made in C. The hot paths read it instead of calling :func:`check`."""

_sessions: dict[int, _Session] = {}


class _Opener:
    """A thread that is opening or closing a session, for as long as this object lives."""

    __slots__ = ("__weakref__", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()


_openers: set[weakref.ref[_Opener]] = set()
_forking: dict[int, float] = {}
"""The threads that are about to fork, each with the time until which no session may begin to be
opened or closed."""


class _Null:
    """``/dev/null``, opened with the first session."""

    descriptor = -1
    identity = (-1, -1)


_starting = threading.RLock()
_starts: list[Callable[[], None]] = []


@contextmanager
def not_now() -> Iterator[None]:
    """For opening or closing a session: a fork by another thread waits for the block to end."""
    me = threading.get_ident()
    if me in _open_by():  # nested: the garbage collector closes a session while another is opened
        yield
        return
    while True:
        opener = _Opener()
        _openers.add(weakref.ref(opener, _openers.discard))
        # A forking thread announces itself before it looks; an opening thread looks afterwards.
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
    # The time is limited, because an exception may have prevented the end.
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
    """Have *start* called in every forked child, after its inherited sessions were made
    harmless."""
    _starts.append(start)


def check() -> None:
    """To be called before a session is used: in a new child, makes the parent's sessions
    harmless."""
    if not ours[0]:
        with _starting:  # a child that was forked in C may have threads by now
            if not ours[0]:
                _start_child()


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _has_null() -> bool:
    """Whether it is still open: a program may close all descriptors and reuse the numbers."""
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
    for session in list(_sessions.values()):  # a collected cursor may call this again
        for descriptor, identity in session.descriptors.items():
            with suppress(OSError):  # closed meanwhile
                if _identity(descriptor) == identity:
                    _make_harmless(descriptor)
        # It must never die: SQLite, for example, would clean up after its last connection.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session.connection))
    _sessions.clear()
    for start in _starts:
        start()
    pid = os.getpid()
    ours[0] = 1


def _make_harmless(descriptor: int) -> None:
    if not _has_null():
        # There may be no free descriptor. No other thread is here to take the one freed now.
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
