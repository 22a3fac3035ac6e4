"""Runs in the child: a worker process, from the fork to ``os._exit``.

The main thread waits for signals and never queries a database: a signal that arrives during a query
is handled only when the query returns. Worker threads do the units of work.
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
from pooldaemon.backoff import Backoff
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
from pooldaemon.workers.ipc.parts import split
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
from pooldaemon.workers.worker.recycle import RecycleLimits, check_memory
from pooldaemon.workers.worker.reporter import Reporter
from pooldaemon.workers.worker.stacks import dump_stacks
from pooldaemon.workers.worker.thread import WorkerThread

logger = logging.getLogger("pooldaemon.workers")

HEARTBEAT = 1.0
"""Seconds between a worker's reports to its supervisor."""

START_DELAYS = 0.5, 30.0
"""First and longest delay, in seconds, before missing threads are started again."""

ORPHAN_GRACE = 1.0
"""Seconds that running units get to end when the supervisor has died."""


class Job(Protocol):
    """What a worker calls: the daemon command."""

    databases: tuple[str, ...]

    def worker_init(self, worker: WorkerInfo) -> None: ...
    def worker_exit(self, worker: WorkerInfo) -> None: ...
    def perform(self, ctx: WorkContext) -> Any: ...


@dataclass(frozen=True)
class WorkerInfo:
    """A worker process: the argument of the hooks ``worker_init`` and ``worker_exit``.

    :ivar name: ``"worker-1"``. A worker that replaces another one takes over its name.
    :ivar pid: the process's.
    """

    name: str
    pid: int


def boot(config: DaemonConfig, job: Job, info: WorkerInfo) -> None:
    """Make a worker ready: call its hook, and connect to its databases, except paused ones.

    :raises ImproperlyConfigured: ``max_rss`` is too low: the worker would be replaced at once.
    """
    limit_connections(config.max_connections)
    fault_point("worker_boot")
    with no_child_returns("worker_init()"):
        job.worker_init(info)
    with auto_close_db():
        for alias in job.databases:
            if not is_paused(alias):
                connections[alias].ensure_connection()
    if (reason := check_memory(config, memory.resident())) is not None:
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
            # A terminal sends them to the whole process group; only the supervisor acts on them.
            ignored=[signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU],
        )
        signal.signal(signal.SIGQUIT, _quit)
        release_in_children(partial(self._leave_to_parent, links))
        # Writes the stacks to stderr on SIGABRT or on a fault in C code, even if the process is
        # stuck outside of Python.
        with suppress(AttributeError, RuntimeError, io.UnsupportedOperation):  # stderr is no file
            faulthandler.enable()
        self._sessions = SessionLog(
            lambda session: sender.send("session", **session._asdict()),
            lambda session: sender.send("session_over", **session._asdict()),
        )
        self._reported_overdue: set[str] = set()
        self._clock = RunningClock()
        self._reporting = threading.Lock()
        # From the worker thread, at once: with --until-idle the supervisor has to know that a
        # worker is busy before its unit begins.
        on_change: Callable[[], object] = self._report if config.until_idle else lambda: None
        self._threads: list[WorkerThread] = []
        self._start_again_at = 0.0
        self._start_backoff = Backoff(*START_DELAYS)
        self._activity = Activity(config.threads, on_change, self._clock)
        self._reporter = Reporter(sender)
        self._postponement = Postponement()
        self._held = threading.Event()
        """Set while a database is paused: a unit that began now would only wait and time out."""
        self._commands = CommandListener(links, self._after_command, self._held.set)
        threading.Thread(
            target=self._follow_supervisor, name="parent-death-pipe", daemon=True
        ).start()

    def _leave_to_parent(self, links: Links) -> None:
        """Release what belongs to the worker, in a child that a unit, a hook or a library forks."""
        self._signals.leave_to_parent()
        # The child must not report its own sessions as the worker's.
        disconnect(links.descriptors)

    def run(self) -> int:
        """Work until the worker has to end; returns the exit status."""
        try:
            return self._run()
        finally:
            close_pool()
            self._sender.drain()

    def _run(self) -> int:
        if not self._boot():
            return exit_codes.BOOT_FAILED
        send_signal(signals.worker_ready, type(self._job), worker=self.info)
        self._handle_signals()
        self._report_suspects()
        # Before the first unit: a worker that dies in it counts as one that had been ready.
        self._sender.send("ready")
        self._report()
        self._recycle_limits = RecycleLimits(self._config, time.monotonic())
        self._start_threads(time.monotonic())
        # After the threads have started, so that the first units do not wait for it.
        self._reporter.report(self._running())
        self._watch()
        # The hook may take longer than the supervisor waits for a heartbeat: a thread sends them.
        self._sender.send("exiting", seconds=self._config.exit_timeout)
        with suppress(RuntimeError):  # no thread is to be had: the hook gets less time
            threading.Thread(target=self._report_on, name="reports", daemon=True).start()
        fault_point("worker_exit")
        send_signal(signals.worker_exiting, type(self._job), worker=self.info)
        self._call_hook(self._job.worker_exit)
        return exit_codes.OK

    def _boot(self) -> bool:
        try:
            self._commands.catch_up()  # the standing commands
            threading.Thread(target=self._commands.follow, name="commands", daemon=True).start()
            boot(self._config, self._job, self.info)
        except (Exception, SystemExit) as error:
            logger.debug("%s failed to boot", self.info.name, exc_info=True)
            self._sender.send("boot_failed", error=in_a_line(error))
            return False
        return True

    def _start_threads(self, now: float) -> None:
        """Start the threads that are missing. If the system has none to give just now, the worker
        goes on with those that it has: to end it would cut off their units."""
        wanted = self._config.threads
        if len(self._threads) == wanted or self._stop.is_set() or now < self._start_again_at:
            return
        try:
            while len(self._threads) < wanted:
                self._threads.append(self._start_thread(len(self._threads) + 1))
        except RuntimeError as error:
            if self._start_again_at == 0.0:  # once, not with each try
                counts = self.info.name, len(self._threads), wanted, error
                logger.error("%s: works with %d of %d threads: %s; it tries again", *counts)
            self._start_again_at = now + self._start_backoff.next_delay()
        else:
            if self._start_again_at > 0.0:
                logger.warning("%s: works with all %d threads now", self.info.name, wanted)

    def _start_thread(self, number: int) -> WorkerThread:
        name = f"{self.info.name}/thread-{number}"
        ctx = WorkContext(name, self._stop, self._report_progress, self._postponement)
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

    def _watch(self) -> None:
        """The main loop, until the worker is to end and every thread has ended."""
        self._clock.look()
        while not self._stop.is_set() or any(thread.is_alive() for thread in self._threads):
            self._start_threads(time.monotonic())
            # Short while draining: the end of a thread does not end the wait.
            usual = min(HEARTBEAT, self._config.unit_timeout or HEARTBEAT)
            pause = usual if not self._stop.is_set() else 0.05
            self._clock.wait(pause)
            self._signals.wait(pause)
            self._clock.look()
            self._handle_signals()
            report = self._report()
            self._reporter.report_if_due(self._running())
            self._check_unit_timeout()
            if reason := self._recycle_limits.exceeded(report.units, report.rss, time.monotonic()):
                self._leave(reason)

    def _report_on(self) -> None:
        """A thread: send heartbeats to the end, since the main thread is in ``worker_exit()``."""
        while True:
            self._report()
            time.sleep(HEARTBEAT)

    def _handle_signals(self) -> None:
        for number in self._signals.take():
            if number is signal.SIGTERM:
                self._stop.set()
                if self._orphaned.is_set():
                    logger.critical("%s: stopping, since the supervisor has died", self.info.name)
            elif number is signal.SIGUSR1:
                logfiles.reopen()
            else:
                stacks = dump_stacks(self._running())
                logger.warning("%s: the stacks of its threads\n%s", self.info.name, stacks)

    def _follow_supervisor(self) -> None:
        """A thread: end this process when the supervisor has died, however it did.

        It does not log: a handler might raise or block, and keep the process from ending.
        """
        while True:
            try:
                # Nobody writes: this returns when the supervisor's end of the pipe is closed.
                os.read(self._parent_death_pipe, 1)
            except OSError:  # the code of a unit has closed a descriptor that is not its own
                if os.getppid() == self._supervisor:
                    time.sleep(HEARTBEAT)
                    continue
            break
        self._orphaned.set()
        self._stop.set()
        signal.raise_signal(signal.SIGTERM)  # the main thread logs why
        time.sleep(ORPHAN_GRACE)
        os._exit(exit_codes.KILLED)

    def _running(self) -> dict[str, float]:
        """The threads that are in a unit, with its start on the monotonic clock, moved forward by
        the time for which this process was suspended."""
        begun = self._activity.running()
        return {thread: since + self._clock.lost for thread, since in begun.items()}

    def _check_unit_timeout(self) -> None:
        if (limit := self._config.unit_timeout) is None:
            return
        now, running = time.monotonic(), self._running()
        for thread, began in running.items():
            if now - began < limit or thread in self._reported_overdue:
                continue
            self._reported_overdue.add(thread)  # the worker drains: this is the thread's last unit
            logger.error(
                "%s: a unit of work has been running for %.1f s; unit_timeout is %g s\n%s",
                *(thread, now - began, limit, dump_stacks(running, only=thread)),
            )
            sessions = self._sessions.held_by(thread)
            self._sender.send("overdue", thread=thread, seconds=now - began, sessions=sessions)
            self._leave(f"the unit in {thread} has exceeded unit_timeout")

    def _after_command(self) -> None:
        if any(is_paused(alias) for alias in self._job.databases):
            self._held.set()
        else:
            self._held.clear()
        self._reporter.report(self._running())

    def _report_progress(self, thread: str, done: float | None, total: float | None) -> None:
        self._sender.send("progress", thread=thread, done=done, total=total)

    def _report_suspects(self) -> None:
        """Workers that are forked soon need not ask the server for them."""
        for account, suspects, asked in suspects_found():
            values = {"account": account, "asked": asked}
            if self._sender.send("suspects", suspects=suspects, **values):
                continue
            parts = split(suspects)
            for number, part in enumerate(parts):
                numbers = {"part": number, "parts": len(parts)}
                self._sender.send("suspects_part", suspects=part, **numbers, **values)

    def _leave(self, reason: str) -> None:
        """Drain by itself; the supervisor starts another worker."""
        if not self._stop.is_set():
            self._sender.send("leaving", reason=reason)
            self._stop.set()

    def _report(self) -> Report:
        """Send a heartbeat."""
        with self._reporting:  # so that an older "idle" can't overtake a newer "busy"
            running = self._running()
            longest = next(iter(running.items()), None)
            report = Report(
                idle=self._activity.idle,
                units=self._activity.units,
                failures=self._activity.failures,
                busy=len(running),
                longest=longest and (longest[0], time.monotonic() - longest[1]),
                connections=peak_connections(),
                rss=memory.resident(),
            )
            self._sender.send("heartbeat", **asdict(report))
            return report

    def _call_hook(self, hook: Callable[[WorkerInfo], None]) -> None:
        try:
            with no_child_returns(f"{hook.__name__}()"):
                hook(self.info)
        except (Exception, SystemExit):
            logger.exception("%s: %s failed", self.info.name, hook.__name__)
