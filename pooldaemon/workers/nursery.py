"""Runs in the parent until the fork, and in the child from there: where workers are born."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from pooldaemon.connections import close_pool
from pooldaemon.workers import statuses
from pooldaemon.workers.channel import Receiver, Sender
from pooldaemon.workers.handle import WorkerHandle

logger = logging.getLogger("pooldaemon.supervisor")


class Nursery:
    """Forks workers. Main thread only.

    :param run_worker: runs in the child, with the worker's name, the end of its channel and the
        descriptor of its lifeline; returns its exit status.
    :param release: called in each child after the fork, to close what is the parent's alone.
    """

    def __init__(
        self, run_worker: Callable[[str, Sender, int], int], release: Callable[[], None]
    ) -> None:
        self._run_worker = run_worker
        self._release = release
        # Workers hold the other end; whatever way this process dies, they see its end.
        self._lifeline, self._lifeline_held = os.pipe()

    def close(self) -> None:
        os.close(self._lifeline)
        os.close(self._lifeline_held)

    def fork(self, name: str, now: float) -> WorkerHandle:
        close_pool()  # the child may not inherit a session
        strays = [t.name for t in threading.enumerate() if t is not threading.current_thread()]
        if strays:
            logger.warning(
                "Forking while other threads run: %s. A lock that one of them holds stays locked "
                "in the worker for ever; start threads in worker_init().",
                ", ".join(strays),
            )
        read_end, write_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # Until the child has handlers of its own a signal would run the parent's in it.
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._be_worker(name, read_end, write_end, previous)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        os.close(write_end)
        logger.info("%s: started as pid %d", name, pid)
        return WorkerHandle(name, pid, Receiver(read_end), now)

    def _be_worker(
        self, name: str, read_end: int, write_end: int, mask: set[int | signal.Signals]
    ) -> None:
        """The child's side of the fork. Never returns: the parent's stack is not the child's."""
        status = statuses.CRASHED
        try:
            os.close(read_end)
            os.close(self._lifeline_held)
            self._release()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            status = self._run_worker(name, Sender(write_end), self._lifeline)
        except BaseException:
            logger.critical("%s crashed", name, exc_info=True)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            logging.shutdown()
            # Nothing of the parent's may run in the child: no finally, no atexit.
            os._exit(status)
