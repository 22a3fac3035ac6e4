"""What children inherit that others fork: nothing of ours.

A unit of work, a hook or a library may fork, by ``multiprocessing``, by ``os.fork()``, by
``subprocess`` with ``preexec_fn``. Such a child is nobody's worker. It must neither swallow the
signals that are meant to end it, nor wake our main loop in its own name, nor keep the pipe open by
which workers see that their supervisor is gone, nor the pidfile locked.

The hazard is a fork of our own that is taken for another's, or the other way round. So our own says
so, in the thread that makes it.
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
    """What this process has that children of others must not have, and who forks just now."""

    release: Callable[[], None] = _nothing
    own_fork_of: int | None = None


def release_in_children(release: Callable[[], None] = _nothing) -> None:
    """Have *release* called first in each child that is forked from now on, unless by
    :func:`own_fork`. One per process: it takes the place of an earlier one.
    """
    _Process.release = release


@contextmanager
def own_fork() -> Iterator[None]:
    """What this thread forks in the block is ours: it releases for itself what it does not need."""
    _Process.own_fork_of = threading.get_ident()
    try:
        yield
    finally:
        _Process.own_fork_of = None


def disconnect(descriptors: Iterable[int]) -> None:
    """Point *descriptors* at ``/dev/null``: nobody hears what is written there by mistake, and
    their numbers do not become those of other files."""
    ours = [*descriptors]
    for descriptor in ours:
        os.close(descriptor)  # before: there may be no other free number
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in ours:
        if descriptor != null:
            os.dup2(null, descriptor, inheritable=False)
    if null not in ours:
        os.close(null)


@contextmanager
def no_child_returns(name: str) -> Iterator[None]:
    """A child that is forked in the block, and comes to its end, ends there.

    :param name: what runs in it, for the log.
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
            logger.error("A process that %s has forked failed", name, exc_info=error)
        else:
            logger.error(
                "A process that %s has forked came back from it, and ends here: it is no worker. "
                "Let it end with os._exit().",
                name,
            )
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status)


def _status(error: SystemExit) -> int:
    """As the interpreter has it."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def _start_child() -> None:
    """Runs in every forked child."""
    release, _Process.release = _Process.release, _nothing
    if _Process.own_fork_of == threading.get_ident():
        return
    release()
    with suppress(ValueError):  # of a subinterpreter
        _restore_signals()


def _restore_signals() -> None:
    """The defaults in the place of every handler of ours, as any Python program has them."""
    for number in signal.valid_signals():
        module = getattr(signal.getsignal(number), "__module__", None) or ""
        if module.startswith("pooldaemon."):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_child)
