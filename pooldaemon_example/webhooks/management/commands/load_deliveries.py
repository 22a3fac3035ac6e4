"""Load webhook deliveries from a file of JSON lines."""

import contextlib
import sys
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from pooldaemon_example.webhooks import options
from pooldaemon_example.webhooks.loading import Loaded, load


class Command(BaseCommand):
    help = (
        'Load deliveries, one JSON object per line: {"url": "https://…", "payload": {…}}. Bad'
        " lines are reported on stderr as FILE:LINE: reason, the good ones are loaded; the exit"
        " status is 1 if any line was bad."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE.jsonl", help="the file; -: standard input")
        parser.add_argument(
            "--base-url", type=options.base_url, help="the base of relative URLs in the file"
        )

    def handle(self, *args: Any, **opts: Any) -> None:
        path: str = opts["file"]
        name = "<stdin>" if path == "-" else path
        done = Loaded()

        def report(line: int, reason: str) -> None:
            self.stderr.write(f"{name}:{line}: {reason}")

        try:
            with _open(path) as stream:
                load(stream, opts["base_url"], report, done)
        except OSError as error:
            loaded = f" ({done.loaded} deliveries loaded)" if done.loaded else ""
            raise CommandError(f"cannot read {name}: {error.strerror}{loaded}") from None
        except DatabaseError as error:
            raise CommandError(
                f"the database failed with {done.loaded} deliveries loaded: {error}"
            ) from error
        if not done.loaded and not done.rejected:
            raise CommandError(f"{name} is empty: nothing to load")
        self.stdout.write(f"loaded {done.loaded}, rejected {done.rejected}")
        if done.rejected:
            sys.exit(1)


def _open(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path == "-":
        return contextlib.nullcontext(sys.stdin.buffer)
    return Path(path).open("rb")
