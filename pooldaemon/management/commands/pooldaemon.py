"""``manage.py pooldaemon VERB``: see and operate pools and daemons."""

from __future__ import annotations

from argparse import REMAINDER, SUPPRESS
from importlib import import_module
from types import ModuleType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from pooldaemon.conf import nearest
from pooldaemon.console import VERBS


class Command(BaseCommand):
    help = "See and operate pools and daemons."
    requires_system_checks = []  # must work while the project has errors

    _verb: str | None = None

    def run_from_argv(self, argv: list[str]) -> None:
        if len(argv) > 2 and argv[2] in VERBS:  # so that its options and Django's can be mixed
            self._verb = argv[2]
            argv = [argv[0], " ".join(argv[1:3]), *argv[3:]]
        super().run_from_argv(argv)

    def add_arguments(self, parser: CommandParser) -> None:
        if self._verb is not None:
            parser.description = VERBS[self._verb]
            _module(self._verb).add_arguments(parser)
            return
        verbs = "; ".join(f"{verb}: {text}" for verb, text in VERBS.items())
        parser.add_argument("verb", nargs="?", help=verbs)
        parser.add_argument("words", nargs=REMAINDER, help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        if self._verb is None:
            self._verb = _known(options["verb"])
            parser = self.create_parser("", f"pooldaemon {self._verb}")
            options |= vars(parser.parse_args(options["words"]))
        _module(self._verb).run(options, self.stdout)


def _known(verb: str | None) -> str:
    """
    :raises CommandError: there is no such verb.
    """
    if verb in VERBS:
        return verb
    what = "pooldaemon needs a verb." if verb is None else f"{verb!r} is not a verb."
    near = nearest(verb or "", VERBS)
    raise CommandError(f"{what}{near} Valid: {', '.join(VERBS)}.", returncode=2)


def _module(verb: str) -> ModuleType:
    """
    :raises CommandError: the package of an extra is missing.
    """
    try:
        return import_module(f"pooldaemon.console.{verb}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "pooldaemon":
            raise
        raise CommandError(
            f"{verb} needs the package {error.name}: pip install 'pooldaemon[{verb}]'"
        ) from None
