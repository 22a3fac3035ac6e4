"""Starts workers and helper processes: in the parent up to the fork, then in the child."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import Any

from pooldaemon.conf import PerDatabase
from pooldaemon.connections import close_pool
from pooldaemon.faults import fault_point
from pooldaemon.pool_commands import PoolCommand
from pooldaemon.workers.ipc.channel import Links, Receiver, Sender
from pooldaemon.workers.ipc.messages import FROM_WORKERS, TO_WORKERS
from pooldaemon.workers.process import exit_codes, log_context
from pooldaemon.workers.process.inheritance import own_fork
from pooldaemon.workers.process.safe_logging import LONGEST_CALL, time_limit
from pooldaemon.workers.supervisor.handle import WorkerHandle
from pooldaemon.workers.supervisor.metrics_server import MetricsServer

logger = logging.getLogger("pooldaemon.supervisor")

HELPER_TIMEOUT = 5
"""Seconds after which the kernel ends a helper: its server may not answer."""


RunWorker = Callable[[str, PerDatabase, Links], int]


class Spawner:
    """Forks workers, and helpers: short-lived processes for what a supervisor must not do itself.

    Main thread only.

    :param run_worker: see :class:`pooldaemon.workers.supervisor.services.Services`.
    :param release: called in each child after the fork, to close what is the parent's alone.
    :param taken_over: what :meth:`hand_over` of the last supervisor's returned.
    :param metrics_server: see :class:`pooldaemon.workers.supervisor.services.Services`.
    """

    def __init__(
        self,
        run_worker: RunWorker,
        release: Callable[[], None],
        taken_over: Mapping[str, Any] | None = None,
        metrics_server: MetricsServer | None = None,
    ) -> None:
        self._run_worker = run_worker
        self._release = release
        # Workers hold the other end. However this process dies, they see the end of the stream.
        self.parent_death_pipe: tuple[int, int] = (
            taken_over["parent_death_pipe"] if taken_over else os.pipe()
        )
        """Its reading end, for the workers, and its writing end, for the supervisor alone."""
        self._helpers: set[int] = set(taken_over["helpers"] if taken_over else ())
        self._metrics_server = metrics_server
        if metrics_server and taken_over and (state := taken_over.get("metrics_server")):
            metrics_server.take_over(state)

    def hand_over(self) -> dict[str, Any]:
        """Its state for the re-executed supervisor, as JSON."""
        return {
            "parent_death_pipe": self.parent_death_pipe,
            "helpers": sorted(self._helpers),
            "metrics_server": self._metrics_server and self._metrics_server.hand_over(),
        }

    def close(self) -> None:
        """Wait for the helpers, end the metrics server, and close the parent-death pipe."""
        for pid in self._helpers:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        if self._metrics_server:
            self._metrics_server.end()
        for descriptor in self.parent_death_pipe:
            os.close(descriptor)

    def fork(
        self, name: str, caps: PerDatabase, standing: Iterable[PoolCommand], now: float
    ) -> WorkerHandle:
        """
        :param standing: the commands that it gets at once.
        :raises OSError: there is no process, no descriptor or no memory for it just now.
        """
        fault_point("before_fork")
        with ExitStack() as on_failure:
            read_end, write_end = _pipe(on_failure)
            commands, commands_end = _pipe(on_failure)
            receiver, sender = Receiver(read_end, FROM_WORKERS, name), Sender(commands_end)
            for command in standing:
                sender.send("command", number=0, **asdict(command))

            def release() -> None:
                receiver.close()
                sender.close()
                self._leave_to_parent()

            def run() -> int:
                orders = Receiver(commands, TO_WORKERS, "the supervisor")
                links = Links(Sender(write_end), orders, self.parent_death_pipe[0])
                return self._run_worker(name, caps, links)

            pid = fork(name, run, release)
            on_failure.pop_all()
        # The worker exists from here on, whatever else fails.
        for descriptor in (write_end, commands):
            with suppress(OSError):
                os.close(descriptor)
        logger.info("%s: started as pid %d", name, pid)
        return WorkerHandle(name, pid, receiver, now, caps, sender)

    def fork_helper(self, work: Callable[[], None]) -> None:
        """Do *work* in a process of its own, which is not waited for. An error is logged.

        :raises OSError: there is no process just now.
        """

        def run() -> int:
            # By the kernel's default action: a Python handler would wait for a query to end.
            signal.alarm(HELPER_TIMEOUT)
            try:
                work()
            except Exception as error:
                logger.warning("A helper process failed: %s", error, exc_info=True)
                return exit_codes.FAILED
            return exit_codes.OK

        self._helpers.add(fork("helper", run, self._leave_to_parent))

    def reap(self, others: Collection[int]) -> None:
        """Collect the helpers that have ended. Never blocks.

        The first process of a container also inherits whatever has lost its parent, and nobody
        else would collect that.

        :param others: children that are not ours to collect.
        """
        self._reap_helpers()
        metrics_server = self._metrics_server and self._metrics_server.pid
        while os.getpid() == 1:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:  # there are none
                return
            if ended is None or ended.si_pid in {*others, *self._helpers, metrics_server}:
                return
            os.waitpid(ended.si_pid, 0)

    def keep_metrics_server(self, now: float) -> None:
        """Start the metrics server if there is to be one and it does not run. Never blocks.

        :raises OSError: there is no process or no descriptor for it just now.
        """
        if self._metrics_server:
            self._metrics_server.look(self._fork_exporter, now)

    def _fork_exporter(self, serve: Callable[[int], int]) -> int:
        """Returns its pid. It has the parent-death pipe to know when the daemon has ended."""
        parent_death_pipe = self.parent_death_pipe[0]
        return fork("exporter", lambda: serve(parent_death_pipe), self._leave_to_parent)

    def _reap_helpers(self) -> None:
        for pid in list(self._helpers):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has collected it
                ended, status = pid, 0
            if ended:
                self._helpers.discard(pid)
                if status == signal.SIGALRM:
                    logger.warning("A helper process did not end within %d s", HELPER_TIMEOUT)

    def _leave_to_parent(self) -> None:
        os.close(self.parent_death_pipe[1])
        self._release()

    def leave_to_parent(self) -> None:
        """In a child that somebody else forked: close both ends, and the rest."""
        os.close(self.parent_death_pipe[0])
        self._leave_to_parent()


def _pipe(on_failure: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        on_failure.callback(os.close, end)
    return ends


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
