"""Starts the supervisor for a configuration that has been checked, in the foreground or
detached."""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from django.apps import apps
from django.core.management.base import CommandError, OutputWrapper
from django.core.management.color import Style
from django.db import connections

from pooldaemon import faults
from pooldaemon.conf import ALL, DaemonConfig, PerDatabase, read_publish_interval
from pooldaemon.connections import close_pool, preload
from pooldaemon.management.actions import others_target, socket_of
from pooldaemon.management.bars import Bars
from pooldaemon.management.logs import check_log, open_log
from pooldaemon.management.metrics import exporter_of, listen
from pooldaemon.management.options import Option, name_of
from pooldaemon.management.output import reader_may_be_gone
from pooldaemon.management.surroundings import read_surroundings, refuse_surroundings
from pooldaemon.workers.ipc.channel import Links
from pooldaemon.workers.ipc.control import ControlSocket
from pooldaemon.workers.process import exit_codes, log_context, logfiles
from pooldaemon.workers.process.bounded import bounded
from pooldaemon.workers.process.detach import INTERRUPTIONS, Outcome, Shell, Surroundings, detach
from pooldaemon.workers.process.health import Health
from pooldaemon.workers.process.inheritance import no_child_returns
from pooldaemon.workers.process.invocation import Invocation
from pooldaemon.workers.process.pidfile import AlreadyRunningError, PidFile
from pooldaemon.workers.process.privileges import opening
from pooldaemon.workers.process.signals import held_back
from pooldaemon.workers.supervisor import reexec
from pooldaemon.workers.supervisor.autoreload import CodeChanges
from pooldaemon.workers.supervisor.handle import WorkerDeath
from pooldaemon.workers.supervisor.handover import Handover
from pooldaemon.workers.supervisor.metrics_server import MetricsServer
from pooldaemon.workers.supervisor.preflight import Attempt
from pooldaemon.workers.supervisor.publisher import Publisher
from pooldaemon.workers.supervisor.services import Services
from pooldaemon.workers.supervisor.session_file import SessionFile
from pooldaemon.workers.supervisor.supervisor import Supervisor
from pooldaemon.workers.worker.worker import Job, Worker, WorkerInfo, boot

logger = logging.getLogger("pooldaemon.supervisor")

STDERR = 2


class DaemonCommand(Job, Protocol):
    """The command that is launched: a ``BaseDaemonCommand``."""

    stdout: OutputWrapper
    stderr: OutputWrapper
    style: Style
    target_path: str | None

    def setup(self) -> None: ...
    def worker_died(self, death: WorkerDeath) -> None: ...


def _invocation() -> Invocation:
    try:
        return Invocation.of_this_process()
    except OSError as error:
        raise CommandError(f"the working directory: {error.strerror}") from None


def _end_without(supervisor: int) -> None:
    """In a preflight: exit when the supervisor has died."""
    if os.getppid() != supervisor:
        os._exit(exit_codes.FAILED)


class Launcher:
    """Starts, and after a reload continues, one daemon.

    :param options: all options by name, with their origin, also those that *config* does not have.
    """

    def __init__(
        self, command: DaemonCommand, config: DaemonConfig, options: Mapping[str, Option]
    ) -> None:
        self._command = command
        self._config = config
        self._options = options
        self._lock: PidFile | None = None
        self._control: ControlSocket | None = None
        self._metrics_server: MetricsServer | None = None
        self._shell: Shell | None = None
        self._surroundings: Surroundings | None = None
        """For a detached daemon; ``None`` in the foreground."""
        self._invocation = _invocation()
        self._directory = self._invocation.directory
        """The daemon's working directory."""
        self._bars = Bars(STDERR)

    def launch(self, *, detached: bool) -> int:
        """Run the daemon, or start it detached; returns its exit status.

        :raises CommandError: an option is wrong, or the pidfile is locked.
        """
        if detached:
            self._surroundings = read_surroundings(self._options, self._invocation)
        else:
            refuse_surroundings(self._options)
        with ExitStack() as prepared:
            self._prepare(self._options["logfile"], prepared)
            return self._start()

    def _start(self) -> int:
        logfile = self._options["logfile"]
        self._check_health_file(self._options["health_file"])
        with ExitStack() as claims:
            if self._options["pidfile"].value:
                with held_back(INTERRUPTIONS):  # or a file that is not in claims yet would be left
                    self._claim(self._options["pidfile"], claims)
            if self._options["metrics_address"].value:
                self._export(listen(self._options), claims)
            if self._surroundings is None:
                return self._run()
            self._directory = self._surroundings.directory
            keep = logfiles.open_descriptors()
            keep += [self._lock.descriptor] if self._lock else []
            if self._control:
                keep += [self._control.descriptor, *self._control.descriptors()]
            keep += [self._metrics_server.descriptor] if self._metrics_server else []
            try:
                outcome = detach(
                    self._run_detached, claims, logfile.value, keep, self._surroundings
                )
            except OSError as error:
                raise CommandError(f"the daemon can't detach: {error.strerror}") from None
        if outcome.status:
            self._explain(outcome, logfile.value)
        return outcome.status

    def _run_detached(self, shell: Shell) -> int:
        self._shell = shell
        return self._run()

    def _explain(self, outcome: Outcome, logfile: str) -> None:
        why = ""
        if outcome.interruption is not None:
            why = f": {outcome.interruption.name} was received before it was ready"
        text = f"The daemon has not started{why}; see {logfile}"
        self._command.stderr.write(self._command.style.ERROR(text))

    def _prepare(self, logfile: Option, prepared: ExitStack) -> None:
        """Open the log, and arm the fault points of a test.

        :param prepared: undoes it, for code that has called the command with ``call_command()``.
        """
        log_context.add_fields()
        log_context.note_daemon(name_of(self._command))
        prepared.callback(log_context.forget)
        with self._opening(logfile.value) if logfile.value else nullcontext():
            prepared.enter_context(open_log(logfile.value, logfile.origin))
        try:
            faults.arm(os.environ)
        except ValueError as error:
            raise CommandError(str(error)) from None

    def _check_health_file(self, option: Option) -> None:
        if option.value is None:
            return
        path = Path(option.value).absolute()
        if not path.parent.is_dir():
            raise CommandError(f"{option.origin} {path}: its directory does not exist")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise CommandError(f"{option.origin} {path}: it is not writable")

    def _claim(self, pidfile: Option, claims: ExitStack) -> None:
        """Lock the pidfile and open the control socket, before the daemon detaches."""
        self._lock = PidFile(self._invocation.absolute(pidfile.value))
        try:
            with self._opening(self._lock.path):
                self._lock.acquire()
        except AlreadyRunningError as error:
            target = self._command.target_path
            other = target and others_target(self._lock.path, target)
            why = f"{other}; give another --pidfile" if other else f"already running: {error}"
            raise CommandError(why) from None
        except OSError as error:
            given = f"{pidfile.origin} {pidfile.value}"
            raise CommandError(f"{given}: {error.strerror}") from None
        claims.callback(self._lock.release)
        self._control = ControlSocket(socket_of(self._lock.path))
        try:
            with self._opening(self._control.path):
                self._control.open()
        except OSError as error:
            path = self._control.path
            raise CommandError(f"the control socket {path}: {error.strerror}") from None
        claims.callback(self._control.release)

    def _export(self, listener: socket.socket, claims: ExitStack) -> None:
        """Serve the metrics of a daemon that has a control socket."""
        if self._lock and self._control:
            name = self._lock.path.name.removesuffix(".pid")
            self._metrics_server = exporter_of(listener, self._control.path, name)
            claims.callback(self._metrics_server.release)

    def try_out(self, attempt: Attempt) -> None:
        """The preflight: do what a supervisor and its first worker do before the first unit.

        Opens at most one connection per database, since the daemon is using the others.

        :raises Exception: an error of the new code, the settings or the databases.
        """
        self._prepare(Option(None, "default"), ExitStack())  # to the end of the process
        logfile = self._options["logfile"]
        check_log(logfile.value, logfile.origin)
        info = WorkerInfo("canary", os.getpid())
        log_context.note_worker(info.name)
        supervisor = os.getppid()
        with bounded("setup()", self._config.setup_timeout, partial(_end_without, supervisor)):
            self._call_setup()
        # The supervisor kills a preflight that takes longer. If the supervisor has died, the kernel
        # does, after twice the time: its timer also runs while all processes are suspended.
        signal.alarm(2 * math.ceil(self._config.boot_timeout + self._config.exit_timeout))
        close_pool()
        boot(replace(self._config, max_connections={ALL: 1}), self._command, info)
        self._command.worker_exit(info)
        close_pool()
        attempt.has_passed()

    def take_over(self, state: Mapping[str, Any]) -> int:
        """Continue the daemon of this process after a reload; returns its exit status.

        :param state: what the code from before the reload has handed over.
        """
        # recovering() exits first: the claims must not be released before its next attempt.
        with ExitStack() as claims, reexec.recovering():
            self._prepare(self._options["logfile"], claims)
            if state["output"]:
                logfiles.note_output(state["output"])
            if state["pidfile"]:
                self._lock = PidFile(state["pidfile"])
                self._lock.descriptor = state["lock"]
                claims.callback(self._lock.release)
                self._control = ControlSocket(socket_of(self._lock.path))
                self._control.take_over(state["control"])
                claims.callback(self._control.release)
            if state.get("metrics") is not None:
                # The listening socket is kept, so the address can't change.
                self._export(socket.socket(fileno=state["metrics"]), claims)
            if state.get("shell") is not None:  # the workers have never been all ready
                self._shell = Shell(state["shell"])
            self._directory = state["directory"]
            try:
                os.chdir(self._directory)
            except OSError as error:
                raise CommandError(f"{self._directory}: {error.strerror}") from None
            return self._run(state)

    def _hand_over(self, handover: Handover) -> None:
        lock, control, metrics_server, shell = (
            self._lock,
            self._control,
            self._metrics_server,
            self._waiting,
        )
        state = {
            **handover.state,
            "pidfile": str(lock.path) if lock else None,
            "lock": lock.descriptor if lock else None,
            "control": control.descriptor if control else None,
            "metrics": metrics_server.descriptor if metrics_server else None,
            "shell": shell.descriptor if shell else None,
            "output": logfiles.output(),
            "directory": self._directory,
            "drain_timeout": self._config.graceful_timeout + self._config.exit_timeout,
        }
        # Fail now, while the old code is running, if the directory is missing.
        Path(self._directory).stat()
        self._bars.close()
        faults.fault_point("hand_over")
        own = [lock.descriptor] if lock else []
        own += [control.descriptor] if control else []
        own += [metrics_server.descriptor] if metrics_server else []
        own += [shell.descriptor] if shell else []
        Handover(state, [*handover.descriptors, *own], handover.invocation).execute()

    def _opening(self, path: str | Path) -> AbstractContextManager[None]:
        """For a block that opens one of the daemon's files: see :func:`.privileges.opening`."""
        if (owner := self._surroundings) is None:
            return nullcontext()
        return opening(self._invocation.absolute(path), owner.uid, owner.gid)

    def _run(self, state: Mapping[str, Any] | None = None) -> int:
        faults.warn()
        if self._lock:
            self._lock.write_pid()  # detaching has changed it
        path = self._lock and self._lock.path
        session_file = SessionFile(path.with_name(path.name + ".sessions")) if path else None
        changes = CodeChanges() if self._config.autoreload else None
        health = Health(os.environ, self._options["health_file"].value)
        if state is None:
            health.begin()
        elif state.get("announced", True):
            health.go_on()
        services = Services(
            run_worker=self._run_worker,
            set_up=partial(self._set_up, changes),
            on_ready=self._report_ready,
            on_death=self._command.worker_died,
            release=self._release,
            hand_over=self._hand_over,
            control=self._control,
            changes=changes,
            session_file=session_file,
            show=self._bars.draw,
            metrics_server=self._metrics_server,
            health=health,
            publisher=self._publisher(),
            invocation=self._invocation,
            sender=type(self._command),
            about=self._describe(),
        )
        supervisor = Supervisor(self._config, services, state)
        with supervisor, self._bars:
            reexec.settle()
            status = supervisor.run()
        gc.unfreeze()
        if session_file:
            session_file.clear()
        with reader_may_be_gone():
            for line in sorted(supervisor.history):
                self._command.stdout.write(line)
            self._command.stdout.flush()
        return status

    @property
    def _waiting(self) -> Shell | None:
        """The launching process, if it still waits."""
        return self._shell if self._shell and self._shell.waits else None

    def _report_ready(self) -> None:
        if self._shell:
            self._shell.ready()

    def _set_up(self, changes: CodeChanges | None) -> None:
        """Called before the first fork."""
        preload()
        self._call_setup()
        self._close_what_setup_opened()
        if changes:
            changes.note()
        # Exclude the present objects from garbage collection: a collection in a worker would write
        # to their headers, and so copy the memory pages that the workers share.
        gc.collect()
        gc.freeze()

    def _call_setup(self) -> None:
        with no_child_returns("setup()"):
            self._command.setup()

    def _publisher(self) -> Publisher:
        if not apps.is_installed("pooldaemon.dashboard"):
            return Publisher()
        # Its models can only be imported if it is installed.
        dashboard = import_module("pooldaemon.dashboard.publishing")
        control = self._control.path if self._control else None
        return Publisher(partial(dashboard.publish_daemon, control), read_publish_interval())

    def _close_what_setup_opened(self) -> None:
        opened = connections.all(initialized_only=True)
        if aliases := [one.alias for one in opened if one.connection is not None]:
            logger.warning(
                "setup() has left connections open; they are closed now: %s", ", ".join(aliases)
            )
        # Also those inside an atomic(), which close_pool() does not close.
        connections.close_all()
        close_pool()

    def _release(self) -> None:
        """Close what belongs to the supervisor, in a forked child."""
        if self._shell:
            self._shell.close()
        if self._lock:
            self._lock.close_descriptor()
        if self._control:
            self._control.close_descriptors()
        if self._metrics_server:
            self._metrics_server.release()

    def _run_worker(self, name: str, caps: PerDatabase, links: Links) -> int:
        config = replace(self._config, max_connections=caps)
        return Worker(name, config, self._command, links).run()

    def _describe(self) -> dict[str, Any]:
        options = {
            name: {"value": option.value, "origin": option.origin}
            for name, option in self._options.items()
        }
        name = name_of(self._command)
        about = {"name": name, "command": name, "pid": os.getpid(), "options": options}
        target = self._command.target_path
        return about | ({"target": target} if target else {})
