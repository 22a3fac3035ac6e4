"""Keeps children that other code forks from inheriting what belongs to the daemon.

A unit of work, a hook or a library may fork, with ``multiprocessing``, ``os.fork()`` or
``subprocess`` with ``preexec_fn``. Such a child is not a worker. It must not ignore the signals
that are meant to end it, wake the parent's main loop by its own signals, keep the pipe open by
whose end workers notice that the supervisor has died, or keep the pidfile locked.

This package's own forks must not be confused with these, so the thread that forks marks its own.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

logger = logging.getLogger("pooldaemon.workers")


def _nothing() -> None:
    pass


class _Process:
    """What to release in children that other code forks, and which thread makes a fork of ours."""

    release: Callable[[], None] = _nothing
    own_fork_of: int | None = None
    masks: dict[int, set[int | signal.Signals]] = {}
    """The signal masks of the threads that are forking, as they were before."""


def release_in_children(release: Callable[[], None] = _nothing) -> None:
    """Call *release* in each child that is forked from now on, except in :func:`own_fork`.

    There is one per process: it replaces an earlier one, and children do not inherit it. Default:
    release nothing.
    """
    _Process.release = release


@contextmanager
def own_fork() -> Iterator[None]:
    """Mark forks of this thread in the block as our own: the child releases what it does not need
    by itself."""
    _Process.own_fork_of = threading.get_ident()
    try:
        yield
    finally:
        _Process.own_fork_of = None


def disconnect(descriptors: Iterable[int]) -> None:
    """Point *descriptors* at ``/dev/null``: what is written to them by mistake goes nowhere, and
    files that are opened later do not get their numbers."""
    ours = [*descriptors]
    for descriptor in ours:
        os.close(descriptor)  # first, since there may be no free descriptor
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in ours:
        if descriptor != null:
            os.dup2(null, descriptor, inheritable=False)
    if null not in ours:
        os.close(null)


@contextmanager
def no_child_returns(name: str) -> Iterator[None]:
    """End a child that is forked in the block when it leaves the block.

    Otherwise it would continue as a second copy of this process. If it left without
    ``SystemExit``, that is logged, and its exit status is 1.

    :param name: what runs in the block, for the log.
    """
    pid = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != pid:
            _end(name, error)
        raise
    if os.getpid() != pid:
        _end(name)


def _end(name: str, error: BaseException | None = None) -> NoReturn:
    status = 1
    try:
        if isinstance(error, SystemExit):
            status = _status(error)
        elif error is not None:
            logger.error("A child process forked by %s failed", name, exc_info=error)
        else:
            logger.error(
                "A child process forked by %s returned from it, and is ended here: it is not a "
                "worker. End it with os._exit().",
                name,
            )
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status)


def _status(error: SystemExit) -> int:
    """The exit status of the process, as the interpreter would set it."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def _block_signals() -> None:
    """Before every fork: a signal that reaches the child before :func:`_start_child` waits.

    The parent's handler would only note it, and nobody reads that in the child.
    """
    if _Process.release is not _nothing:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        _Process.masks[threading.get_ident()] = mask


def _unblock_signals() -> None:
    if (mask := _Process.masks.pop(threading.get_ident(), None)) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _start_child() -> None:
    """Runs in every forked child, whoever has forked it."""
    release, _Process.release = _Process.release, _nothing
    try:
        if _Process.own_fork_of != threading.get_ident():
            release()
            with suppress(ValueError):  # in a subinterpreter
                _restore_signals()
    finally:
        _unblock_signals()


def _restore_signals() -> None:
    """Replace this package's signal handlers by the defaults of a Python program."""
    for number in signal.valid_signals():
        module = getattr(signal.getsignal(number), "__module__", None) or ""
        if module.startswith("pooldaemon."):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_block_signals, after_in_parent=_unblock_signals, after_in_child=_start_child
    )
