"""The fork of a worker or a helper: in the parent up to the fork, then in the child."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from pooldaemon.connections import close_pool
from pooldaemon.workers.process import exit_codes, log_context
from pooldaemon.workers.process.inheritance import own_fork
from pooldaemon.workers.process.safe_logging import LONGEST_CALL, time_limit

logger = logging.getLogger("pooldaemon.supervisor")


def fork(name: str, run: Callable[[], int], release: Callable[[], None]) -> int:
    """Fork a child that leaves with what *run* returns; returns its pid. Main thread only.

    :param release: called in the child before *run*, with all signals blocked, to let go of what
        is the parent's alone.
    """
    close_pool()  # the child must not inherit a session
    strays = [t.name for t in threading.enumerate() if t is not threading.current_thread()]
    if strays:
        logger.warning(
            "Forking while other threads run: %s. A lock that one of them holds stays locked "
            "in the worker for ever; start threads in worker_init().",
            ", ".join(strays),
        )
    flush_streams()
    # Until the child has handlers of its own, a signal would run the parent's handlers in it.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with own_fork():
            pid = os.fork()
        if pid:
            return pid
        _be_child(name, run, release, previous)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    raise AssertionError("the child does not return")


def _be_child(
    name: str,
    run: Callable[[], int],
    release: Callable[[], None],
    mask: set[int | signal.Signals],
) -> None:
    """The child's side of the fork. Never returns: the parent's stack is not the child's."""
    status = exit_codes.CRASHED
    log_context.note_worker(name)
    try:
        release()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = run()
    except BaseException:
        logger.critical("%s crashed", name, exc_info=True)
    finally:
        try:
            flush_streams()
            with time_limit(LONGEST_CALL):  # a thread that still logs may hold a handler's lock
                logging.shutdown()
        finally:
            # Nothing of the parent's may run in the child: no finally, no atexit.
            os._exit(status)


def flush_streams() -> None:
    """Flush standard output and error. What can't be written stays in the buffer."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the disk is full, the stream closed
            stream.flush()
