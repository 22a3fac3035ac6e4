"""Runs in the parent: the collaborators of a supervisor, which the command hands in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.dispatch import Signal

from pooldaemon import signals
from pooldaemon.connections import close_pool
from pooldaemon.sessions import Session
from pooldaemon.workers.ipc.control import ControlSocket
from pooldaemon.workers.process.health import Health
from pooldaemon.workers.process.inheritance import no_child_returns
from pooldaemon.workers.process.invocation import Invocation
from pooldaemon.workers.process.send_signal import send_signal
from pooldaemon.workers.supervisor.autoreload import CodeChanges
from pooldaemon.workers.supervisor.handle import Progress, WorkerDeath
from pooldaemon.workers.supervisor.handover import Handover
from pooldaemon.workers.supervisor.metrics_server import MetricsServer
from pooldaemon.workers.supervisor.phase import Phase
from pooldaemon.workers.supervisor.publisher import Publisher
from pooldaemon.workers.supervisor.session_file import SessionFile
from pooldaemon.workers.supervisor.spawner import RunWorker
from pooldaemon.workers.supervisor.worker_set import WorkerSet

logger = logging.getLogger("pooldaemon.supervisor")


def _nothing(*args: object) -> None:
    pass


@dataclass(frozen=True)
class Services:
    """What a supervisor calls and does not do itself.

    :ivar run_worker: runs in the child, with the worker's name, its caps of connections and what it
        has of its supervisor; returns its exit status.
    :ivar set_up: prepares what workers inherit, before any of them is forked; called again if it
        has raised.
    :ivar on_ready: called once, when all workers are ready for the first time.
    :ivar on_death: called for every worker that died.
    :ivar release: called in each child after the fork, to close what is the parent's alone.
    :ivar hand_over: executes the command afresh in this process, and hands its argument over to it;
        raises ``OSError`` if that is not possible. Without it there are no reloads.
    :ivar control: answered in the main loop; the owner's to open and to release.
    :ivar changes: looked at for a reason to reload.
    :ivar session_file: where the workers' sessions are written down.
    :ivar health: given signs of life.
    :ivar show: called with the progress that units have reported: by thread, what is done, and
        of how much.
    :ivar metrics_server: kept alive from the first round to the last; the owner's to release.
    :ivar publisher: publishes the status of the daemon.
    :ivar invocation: how the command was started; executed again for a reload.
    :ivar sender: of the signals, the command's class.
    :ivar about: what ``status`` shows beside the supervisor's own state.
    """

    run_worker: RunWorker
    set_up: Callable[[], None] = _nothing
    on_ready: Callable[[], None] = _nothing
    on_death: Callable[[WorkerDeath], None] = _nothing
    release: Callable[[], None] = _nothing
    hand_over: Callable[[Handover], None] | None = None
    control: ControlSocket | None = None
    changes: CodeChanges | None = None
    session_file: SessionFile | None = None
    metrics_server: MetricsServer | None = None
    health: Health = field(default_factory=lambda: Health({}))
    show: Callable[[Mapping[str, Progress]], None] = _nothing
    publisher: Publisher = field(default_factory=Publisher)
    invocation: Invocation = field(default_factory=Invocation.of_this_process)
    sender: type = object
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def descriptors(self) -> list[int]:
        """The descriptors on which requests may arrive."""
        return self.control.descriptors() if self.control else []

    def ready(self) -> None:
        """All workers are ready, at the start or after a reload."""
        self.health.ready()
        self._announce(signals.daemon_ready)

    def reloading(self) -> None:
        self.health.reloading()
        self._announce(signals.daemon_reloading)

    def stopping(self, seconds: float) -> None:
        """The daemon drains, for at most so many seconds."""
        self.health.stopping(seconds)
        self._announce(signals.daemon_stopping)

    def died(self, death: WorkerDeath) -> None:
        try:
            with no_child_returns("worker_died()"):
                self.on_death(death)
        except (Exception, SystemExit):
            logger.exception("worker_died failed")
        self._announce(signals.worker_died, death=death)

    def _announce(self, signal: Signal, **values: Any) -> None:
        send_signal(signal, self.sender, **values)
        close_pool()  # a supervisor has no session

    def has_changed(self, now: float) -> bool:
        """Whether there is new code."""
        path = self.changes and self.changes.look(now)
        if path:
            logger.info("%s has changed", path)
        return bool(path)

    def duties(
        self, worker_set: WorkerSet, left: set[Session], phase: Phase, now: float
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        """Duties of every round of the main loop, each with its name for the log.

        :param left: sessions of the dead.
        """
        if (session_file := self.session_file) is not None:
            yield "write down the sessions", lambda: session_file.write(worker_set.sessions | left)
        yield "show progress", lambda: self.show(worker_set.progress)
        status = f"{phase.value}, {worker_set.ready} of {worker_set.size} workers ready"
        yield (
            "report that it lives",
            lambda: self.health.beat(status, alive=worker_set.is_alive(now)),
        )
