"""A daemon whose hooks note that they run, and then do what the test asks."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from pooldaemon import BaseDaemonCommand
from pooldaemon.workers.supervisor.handle import WorkerDeath
from pooldaemon.workers.worker.context import WorkContext
from pooldaemon.workers.worker.worker import WorkerInfo
from tests.lifecycle.project import hooks, units
from tests.lifecycle.project.journal import journal
from tests.support import injection

HOOKS = ("setup", "worker_init", "worker_exit", "worker_died")


class Command(BaseDaemonCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("unit")
        for name in HOOKS:
            parser.add_argument(f"--in-{name}", dest=name)

    def handle(self, *args: Any, **options: Any) -> None:
        injection.begin(injection.HANDLED)
        self.unit = getattr(units, options["unit"])
        self.asked = {name: options[name] for name in HOOKS}
        super().handle(*args, **options)

    def perform(self, ctx: WorkContext) -> Any:
        return self.unit(ctx)

    def setup(self) -> None:
        self._hook("setup")

    def worker_init(self, worker: WorkerInfo) -> None:
        self._hook("worker_init", worker=worker.name, worker_pid=worker.pid)

    def worker_exit(self, worker: WorkerInfo) -> None:
        self._hook("worker_exit", worker=worker.name, worker_pid=worker.pid)

    def worker_died(self, death: WorkerDeath) -> None:
        event = asdict(death)
        worker, pid = event.pop("name"), event.pop("pid")
        self._hook("worker_died", worker=worker, worker_pid=pid, **event)

    def _hook(self, name: str, **values: Any) -> None:
        journal().note(name, **values)
        if self.asked[name]:
            getattr(hooks, self.asked[name])()
