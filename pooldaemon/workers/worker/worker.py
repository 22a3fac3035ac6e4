"""Runs in the child: a worker process, from the fork to ``os._exit``.

Its main thread touches no database. A signal that arrives during a query would be handled only
when the query returns; so the main thread waits for signals, and the others work.
"""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from types import FrameType
from typing import Any, Protocol

from django.db import connections

from pooldaemon import signals
from pooldaemon.conf import DaemonConfig
from pooldaemon.connections import (
    auto_close_db,
    close_pool,
    is_paused,
    limit_connections,
    peak_connections,
    suspects_found,
)
from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.faults import fault_point
from pooldaemon.sessions import SessionLog
from pooldaemon.workers.ipc.channel import Links
from pooldaemon.workers.ipc.report import Report
from pooldaemon.workers.process import exit_codes, logfiles, memory
from pooldaemon.workers.process.clock import RunningClock
from pooldaemon.workers.process.errors import in_a_line
from pooldaemon.workers.process.inheritance import disconnect, no_child_returns, release_in_children
from pooldaemon.workers.process.send_signal import send_signal
from pooldaemon.workers.process.signals import SignalQueue
from pooldaemon.workers.worker.activity import Activity
from pooldaemon.workers.worker.commands import CommandListener
from pooldaemon.workers.worker.context import WorkContext
from pooldaemon.workers.worker.postponement import Postponement
from pooldaemon.workers.worker.recycle import RecycleLimits, refusal
from pooldaemon.workers.worker.reporter import Reporter
from pooldaemon.workers.worker.stacks import dump_stacks
from pooldaemon.workers.worker.thread import WorkerThread

logger = logging.getLogger("pooldaemon.workers")

HEARTBEAT = 1.0
"""Seconds between a worker's reports to its supervisor."""

ORPHAN_GRACE = 1.0
"""Seconds that the units of a worker without supervisor get to end."""


class Job(Protocol):
    """What a worker is for: the command's side of it."""

    databases: tuple[str, ...]

    def worker_init(self, worker: WorkerInfo) -> None: ...
    def worker_exit(self, worker: WorkerInfo) -> None: ...
    def perform(self, ctx: WorkContext) -> Any: ...


@dataclass(frozen=True)
class WorkerInfo:
    """What the hooks ``worker_init`` and ``worker_exit`` are told.

    :ivar name: ``"worker-1"``; a replacement has the same.
    :ivar pid: the process.
    """

    name: str
    pid: int


def boot(config: DaemonConfig, job: Job, info: WorkerInfo) -> None:
    """What makes a worker ready: its hook has run, and its databases have answered. One that is
    paused is not asked.

    :raises ImproperlyConfigured: with so much memory, it would be replaced at once.
    """
    limit_connections(config.max_connections)
    fault_point("worker_boot")
    with no_child_returns("worker_init()"):
        job.worker_init(info)
    with auto_close_db():
        for alias in job.databases:
            if not is_paused(alias):
                connections[alias].ensure_connection()
    if (reason := refusal(config, memory.resident())) is not None:
        raise ImproperlyConfigured(reason)


def _quit(number: int, frame: FrameType | None) -> None:
    os._exit(exit_codes.KILLED)


class Worker:
    """One worker process."""

    def __init__(self, name: str, config: DaemonConfig, job: Job, links: Links) -> None:
        self.info = WorkerInfo(name, os.getpid())
        self._config = config
        self._job = job
        sender = self._sender = links.sender
        self._parent_death_pipe = links.parent_death_pipe
        self._supervisor = os.getppid()
        self._stop = threading.Event()
        self._orphaned = threading.Event()
        self._signals = SignalQueue(
            [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2],
            # They may be sent to the whole group; the supervisor speaks for us.
            unheeded=[signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU],
        )
        signal.signal(signal.SIGQUIT, _quit)
        release_in_children(partial(self._leave_to_parent, links))
        # On SIGABRT, and on a fault in C code, the stacks go to stderr: also from a process in
        # which no Python runs any more.
        with suppress(AttributeError, RuntimeError, io.UnsupportedOperation):  # it may be no file
            faulthandler.enable()
        self._sessions = SessionLog(
            lambda session: sender.send("session", **session._asdict()),
            lambda session: sender.send("session_over", **session._asdict()),
        )
        self._told_overdue: set[str] = set()
        self._clock = RunningClock()
        self._reporting = threading.Lock()
        # At once, from the thread: who waits for the last unit must know before a unit begins.
        on_change: Callable[[], object] = self._report if config.until_idle else lambda: None
        self._activity = Activity(config.threads, on_change, self._clock)
        self._teller = Reporter(sender)
        self._postponement = Postponement()
        self._held = threading.Event()
        """A database is paused: a unit that begins now would only wait, and time out."""
        self._commands = CommandListener(links, self._after_command, self._held.set)
        threading.Thread(
            target=self._follow_supervisor, name="parent_death_pipe", daemon=True
        ).start()

    def _leave_to_parent(self, links: Links) -> None:
        """In a child that a unit, a hook or a library has forked: it is no worker."""
        self._signals.leave_to_parent()
        # Its sessions are not this worker's, and nobody hears of them.
        disconnect(links.descriptors)

    def run(self) -> int:
        """Work until told to stop; returns the exit status."""
        try:
            return self._run()
        finally:
            close_pool()
            self._sender.drain()

    def _run(self) -> int:
        if not self._boot():
            return exit_codes.BOOT_FAILED
        send_signal(signals.worker_ready, type(self._job), worker=self.info)
        self._heed_signals()
        for account, suspects, asked in suspects_found():
            # What is too much for a message each worker asks for itself.
            self._sender.send("suspects", account=account, suspects=suspects, asked=asked)
        # Before the first unit: a worker that dies of it has died at work.
        self._sender.send("ready")
        self._report()
        self._recycle_limits = RecycleLimits(self._config, time.monotonic())
        threads = [self._start_thread(number) for number in range(1, self._config.threads + 1)]
        # After them: the first units do not wait for it.
        self._teller.tell(self._running())
        self._watch(threads)
        # It may take longer than the supervisor waits for signs of life.
        self._sender.send("exiting", seconds=self._config.exit_timeout)
        threading.Thread(target=self._report_on, name="reports", daemon=True).start()
        fault_point("worker_exit")
        send_signal(signals.worker_exiting, type(self._job), worker=self.info)
        self._call_hook(self._job.worker_exit)
        return exit_codes.OK

    def _boot(self) -> bool:
        try:
            self._commands.catch_up()  # what stands since before its time
            threading.Thread(target=self._commands.follow, name="commands", daemon=True).start()
            boot(self._config, self._job, self.info)
        except (Exception, SystemExit) as error:
            logger.debug("%s could not boot", self.info.name, exc_info=True)
            self._sender.send("boot_failed", error=in_a_line(error))
            return False
        return True

    def _start_thread(self, number: int) -> WorkerThread:
        name = f"{self.info.name}/thread-{number}"
        ctx = WorkContext(name, self._stop, self._tell_progress, self._postponement)
        config = self._config
        thread = WorkerThread(
            ctx,
            self._job.perform,
            config.idle_interval,
            self._activity,
            config.retries,
            self._held.is_set,
        )
        thread.start()
        return thread

    def _watch(self, threads: list[WorkerThread]) -> None:
        """The main loop, until every thread has ended."""
        self._clock.look()
        while any(thread.is_alive() for thread in threads):
            # While draining, look often: the end of a thread wakes nobody.
            usual = min(HEARTBEAT, self._config.unit_timeout or HEARTBEAT)
            pause = usual if not self._stop.is_set() else 0.05
            self._clock.wait(pause)
            self._signals.wait(pause)
            self._clock.look()
            self._heed_signals()
            report = self._report()
            self._teller.beat(self._running())
            self._look_for_overdue_units()
            if reason := self._recycle_limits.is_over(report.units, report.rss, time.monotonic()):
                self._leave(reason)

    def _report_on(self) -> None:
        """A thread: report until the end of the process, while the main thread is in a hook."""
        while True:
            self._report()
            time.sleep(HEARTBEAT)

    def _heed_signals(self) -> None:
        for number in self._signals.take():
            if number is signal.SIGTERM:
                self._stop.set()
                if self._orphaned.is_set():
                    logger.critical("%s: the supervisor is gone, stopping", self.info.name)
            elif number is signal.SIGUSR1:
                logfiles.reopen()
            else:
                stacks = dump_stacks(self._running())
                logger.warning("%s: stacks of all threads\n%s", self.info.name, stacks)

    def _follow_supervisor(self) -> None:
        """A thread: when the supervisor is gone, however it ended, so is this process.

        It logs nothing: a handler might raise or block, and nothing may stand before the end.
        """
        while True:
            try:
                os.read(
                    self._parent_death_pipe, 1
                )  # nobody ever writes: it returns at the end of the pipe
            except OSError:  # a unit's code has closed what it did not open
                if os.getppid() == self._supervisor:
                    time.sleep(HEARTBEAT)
                    continue
            break
        self._orphaned.set()
        self._stop.set()
        signal.raise_signal(signal.SIGTERM)  # the main thread tells why
        time.sleep(ORPHAN_GRACE)
        os._exit(exit_codes.KILLED)

    def _running(self) -> dict[str, float]:
        """The threads that are inside a unit, and since when (monotonic clock). The time for which
        this process was suspended is not theirs."""
        begun = self._activity.running()
        return {thread: since + self._clock.lost for thread, since in begun.items()}

    def _look_for_overdue_units(self) -> None:
        if (limit := self._config.unit_timeout) is None:
            return
        now, running = time.monotonic(), self._running()
        for thread, began in running.items():
            if now - began < limit or thread in self._told_overdue:
                continue
            self._told_overdue.add(thread)  # it drains: there is no other unit of this thread
            logger.error(
                "%s: a unit runs for %.1f s, longer than unit_timeout=%g\n%s",
                *(thread, now - began, limit, dump_stacks(running, only=thread)),
            )
            sessions = self._sessions.held_by(thread)
            self._sender.send("overdue", thread=thread, seconds=now - began, sessions=sessions)
            self._leave(f"a unit hangs in {thread}")

    def _after_command(self) -> None:
        if any(is_paused(alias) for alias in self._job.databases):
            self._held.set()
        else:
            self._held.clear()
        self._teller.tell(self._running())

    def _tell_progress(self, thread: str, done: float | None, total: float | None) -> None:
        self._sender.send("progress", thread=thread, done=done, total=total)

    def _leave(self, reason: str) -> None:
        """Drain without having been told to; the supervisor starts another worker."""
        if not self._stop.is_set():
            self._sender.send("leaving", reason=reason)
            self._stop.set()

    def _report(self) -> Report:
        with self._reporting:  # or an older "idle" might overtake a newer "busy"
            running = self._running()
            longest = next(iter(running.items()), None)
            told = Report(
                idle=self._activity.idle,
                units=self._activity.units,
                failures=self._activity.failures,
                busy=len(running),
                longest=longest and (longest[0], time.monotonic() - longest[1]),
                connections=peak_connections(),
                rss=memory.resident(),
            )
            self._sender.send("heartbeat", **asdict(told))
            return told

    def _call_hook(self, hook: Callable[[WorkerInfo], None]) -> None:
        try:
            with no_child_returns(f"{hook.__name__}()"):
                hook(self.info)
        except (Exception, SystemExit):
            logger.exception("%s: %s failed", self.info.name, hook.__name__)
