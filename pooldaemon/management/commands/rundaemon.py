"""``manage.py rundaemon``: a daemon whose unit of work is any function."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.module_loading import import_string

from pooldaemon.conf import pooldaemon_settings
from pooldaemon.management.base import BaseDaemonCommand
from pooldaemon.workers.context import WorkContext


class Command(BaseDaemonCommand):
    help = "Run a function as a unit of work, again and again, in worker processes and threads."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "target",
            nargs="?",
            metavar="dotted.path.to.callable",
            help="called with ctx; default: settings.POOLDAEMON['TARGET']",
        )
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        path = options["target"] or pooldaemon_settings().get("TARGET")
        if not path:
            raise CommandError(
                "rundaemon needs a target: give the dotted path of a callable, "
                "or set settings.POOLDAEMON['TARGET']"
            )
        self.target = _load(path)
        super().handle(*args, **options)

    def perform(self, ctx: WorkContext) -> Any:
        return self.target(ctx)


def _load(path: str) -> Any:
    try:
        target = import_string(path)
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise CommandError(f"the target {path!r} can't be imported: {reason}") from error
    if not callable(target):
        raise CommandError(f"the target {path!r} is not callable: it is {type(target).__name__}")
    return target
