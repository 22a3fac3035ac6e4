"""``manage.py pooldaemon top``."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from io import StringIO, TextIOWrapper
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper
from rich.console import Console, Group, RenderableType
from rich.text import Text

from pooldaemon.conf import Number, check_value
from pooldaemon.console import daemons
from pooldaemon.console.terminal import live
from pooldaemon.console.terminal.controls import Controls
from pooldaemon.console.terminal.draw import details, overview
from pooldaemon.console.terminal.grid import ASCII, Glyphs
from pooldaemon.console.terminal.page import Page
from pooldaemon.console.view import DaemonView, Health
from pooldaemon.console.watch import Watch
from pooldaemon.exceptions import ImproperlyConfigured

INTERVAL = Number(0.2, 3600)
"""Seconds between two requests."""

NOT_RUNNING = 3
"""Exit status of ``--once`` and ``--json`` if no daemon is running, as of ``status``."""

PLAIN_WIDTH = 200
"""Characters in a line if the output is not a terminal."""


def add_arguments(parser: CommandParser) -> None:
    daemons.add_arguments(parser)
    parser.add_argument(
        "--interval",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="time between two updates; default: 1, the interval at which workers report",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--once", action="store_true", help="print the state once as text, and exit")
    form.add_argument("--json", action="store_true", help="print the state once as JSON, and exit")


def run(options: Mapping[str, Any], out: OutputWrapper) -> None:
    """Show the daemons until a key or a signal ends it, or print their state once.

    :raises CommandError: an option is wrong, or there is no terminal.
    """
    try:
        check_value("--interval", INTERVAL, options["interval"])
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from None
    name = options["daemon"]
    where = options["directory"] or str(daemons.configured_directory())
    if name is not None:
        daemons.choose(name, options["directory"])  # raises the error if it is not running
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for names with characters it can't encode
    watch = Watch(partial(daemons.search, options["directory"]))
    if options["json"] or options["once"]:
        views = [view for view in look(watch) if name in (None, view.name)]
        out.write(_json(views) if options["json"] else _text(views, where, out, options))
        if all(view.health is Health.ENDED for view in views):
            sys.exit(NOT_RUNNING)
        return
    console = _screen(options["no_color"])
    if not sys.stdin.isatty() or not console.is_terminal or console.is_dumb_terminal:
        raise CommandError("top needs a terminal; without one, give --once or --json.")
    live.run(watch, Controls(name), console, Page(console, where, _glyphs()), options["interval"])


def _screen(no_color: bool) -> Console:
    """The terminal with its present size: the shell's COLUMNS and LINES may be outdated."""
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    return Console(no_color=no_color or None, _environ=environment)


def look(watch: Watch) -> list[DaemonView]:
    """All daemons as they are now. Blocks for the slowest answer, up to 5 seconds."""
    watch.ask(time.monotonic())
    watch.wait()
    watch.take(now := time.monotonic())
    return watch.views(now)


def _json(views: Sequence[DaemonView]) -> str:
    """The status of each daemon, with its name and health."""
    statuses = [
        {**view.status, "name": view.name, "health": view.health.value, "error": view.error}
        for view in views
    ]
    return json.dumps({"daemons": statuses})


def _text(
    views: Sequence[DaemonView], where: str, out: OutputWrapper, options: Mapping[str, Any]
) -> str:
    """The state of all daemons as text, with colours if *out* is a terminal."""
    if not views:
        return f"No daemon is running in {where}."
    styled = (out.isatty() or options["force_color"]) and not options["no_color"]
    width = None if out.isatty() else PLAIN_WIDTH
    console = Console(file=StringIO(), force_terminal=styled, width=width)
    glyphs = _glyphs()
    parts: list[RenderableType] = [overview(views, None, glyphs)]
    for view in views:
        parts += [Text(), details(view, glyphs)]
    with console.capture() as captured:
        console.print(Group(*parts))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _glyphs() -> Glyphs:
    return Glyphs() if (sys.stdout.encoding or "").lower().startswith("utf") else ASCII
