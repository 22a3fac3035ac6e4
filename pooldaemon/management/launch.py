"""From a checked configuration to a running supervisor, in the foreground or detached."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from django.core.management.base import CommandError, OutputWrapper
from django.core.management.color import Style

from pooldaemon.conf import DaemonConfig
from pooldaemon.connections import close_pool
from pooldaemon.management.actions import socket_of
from pooldaemon.management.logs import open_log
from pooldaemon.management.options import Option, name_of
from pooldaemon.management.surroundings import read_surroundings, refuse_surroundings
from pooldaemon.workers.channel import Sender
from pooldaemon.workers.control import ControlSocket
from pooldaemon.workers.detach import Surroundings, detach
from pooldaemon.workers.handle import WorkerDeath
from pooldaemon.workers.logfiles import open_descriptors
from pooldaemon.workers.pidfile import AlreadyRunningError, PidFile
from pooldaemon.workers.supervisor import Supervisor
from pooldaemon.workers.worker import Job, Worker


class DaemonCommand(Job, Protocol):
    """What is launched: a ``BaseDaemonCommand``."""

    stdout: OutputWrapper
    stderr: OutputWrapper
    style: Style

    def setup(self) -> None: ...
    def worker_died(self, death: WorkerDeath) -> None: ...


class Launcher:
    """
    :param options: for what is no part of *config*, and for ``status``.
    """

    def __init__(
        self, command: DaemonCommand, config: DaemonConfig, options: Mapping[str, Option]
    ) -> None:
        self._command = command
        self._config = config
        self._options = options
        self._lock: PidFile | None = None
        self._control: ControlSocket | None = None

    def launch(self, *, detached: bool) -> int:
        """Run the daemon, or start it detached; returns its exit status.

        :raises CommandError: it can't be started like this.
        """
        logfile: str = self._options["logfile"].value
        open_log(logfile)
        with ExitStack() as claims:
            if pidfile := self._options["pidfile"].value:
                self._claim(pidfile, claims)
            if not detached:
                refuse_surroundings(self._options)
                return self._run(lambda: None)
            surroundings = read_surroundings(self._options)
            self._give_files_to(surroundings)
            keep = open_descriptors()
            keep += [self._lock.descriptor] if self._lock else []
            keep += [self._control.descriptor] if self._control else []

            def run(on_ready: Callable[[], None]) -> int:
                with claims.pop_all():  # the launching shell's process does not release them
                    return self._run(on_ready)

            status = detach(run, logfile, keep, surroundings)
            claims.pop_all()
        if status:
            self._command.stderr.write(
                self._command.style.ERROR(f"The daemon did not start; see {logfile}")
            )
        return status

    def _claim(self, pidfile: str, claims: ExitStack) -> None:
        """Take the lock and the control socket, in front of the user."""
        self._lock = PidFile(pidfile)
        try:
            self._lock.acquire()
        except AlreadyRunningError as error:
            raise CommandError(f"already running: {error}") from None
        except OSError as error:
            raise CommandError(f"--pidfile {pidfile}: {error.strerror}") from None
        claims.callback(self._lock.release)
        self._control = ControlSocket(socket_of(Path(pidfile).absolute()))
        try:
            self._control.open()
        except OSError as error:
            path = self._control.path
            raise CommandError(f"the control socket {path}: {error.strerror}") from None
        claims.callback(self._control.release)

    def _give_files_to(self, owner: Surroundings) -> None:
        """What was opened in our own name is to be its own."""
        if os.geteuid() == 0:
            os.chown(self._options["logfile"].value, owner.uid, owner.gid)
            if self._control:
                os.chown(self._control.path, owner.uid, owner.gid)

    def _run(self, on_ready: Callable[[], None]) -> int:
        if self._lock:
            self._lock.write_pid()  # detaching has changed it
        supervisor = Supervisor(
            self._config,
            self._run_worker,
            on_ready=on_ready,
            on_death=self._command.worker_died,
            release=self._lock.close_descriptor if self._lock else lambda: None,
            control=self._control,
            about=self._describe(),
        )
        with supervisor:
            self._command.setup()
            close_pool()
            # What is there now stays as it is: a collection in a worker would write to each
            # object's header, and copy the pages that it shares with the others.
            gc.collect()
            gc.freeze()
            status = supervisor.run()
        for worker in sorted(supervisor.history, key=lambda worker: worker.name):
            self._command.stdout.write(str(worker))
        self._command.stdout.flush()
        return status

    def _run_worker(self, name: str, sender: Sender, lifeline: int) -> int:
        return Worker(name, self._config, self._command, sender, lifeline).run()

    def _describe(self) -> dict[str, Any]:
        options = {
            name: {"value": option.value, "origin": option.origin}
            for name, option in self._options.items()
        }
        return {"command": name_of(self._command), "options": options}
