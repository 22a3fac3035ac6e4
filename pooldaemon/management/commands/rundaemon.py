"""``manage.py rundaemon``: a daemon whose unit of work is a given callable."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.module_loading import import_string

from pooldaemon.conf import nearest, pooldaemon_settings
from pooldaemon.management.actions import ACTIONS, LAUNCHING, read_action
from pooldaemon.management.base import BaseDaemonCommand
from pooldaemon.management.mistakes import check_unit
from pooldaemon.workers.worker.context import WorkContext


class Command(BaseDaemonCommand):
    help = "Run a daemon that calls a function as its unit of work, in processes and threads."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.epilog = (
            "Argument of run, start and restart: the dotted path of a callable, which is called "
            "with ctx. Default: settings.POOLDAEMON['TARGET']. The word run can be omitted."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        words = options["daemon_action"]
        path = None
        if words and words[0] not in ACTIONS:
            path, *words = words
        elif len(words) == 2 and words[0] in LAUNCHING:
            *words, path = words
        if read_action(words).name in LAUNCHING:
            self.target_path = path or self._configured()
            self.target = _load(self.target_path)
        super().handle(*args, **options | {"daemon_action": words})

    def _configured(self) -> str:
        path: str | None = pooldaemon_settings().get("TARGET")
        if not path:
            raise CommandError(
                "rundaemon needs a target: give the dotted path of a callable, "
                "or set settings.POOLDAEMON['TARGET']"
            )
        return path

    def perform(self, ctx: WorkContext) -> Any:
        return self.target(ctx)


def _load(path: str) -> Any:
    try:
        target = import_string(path)
    except Exception as error:
        reason = str(error) or type(error).__name__
        if hint := nearest(str(path), ACTIONS):
            reason += f".{hint}"
        raise CommandError(f"the target {path!r} can't be imported: {reason}") from error
    if not callable(target):
        raise CommandError(f"the target {path!r} is not callable: it is {type(target).__name__}")
    check_unit(target, f"the target {path!r}", "def unit(ctx)")
    return target
