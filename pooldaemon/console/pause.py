"""``manage.py pooldaemon pause``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper

from pooldaemon.conf import MAX_SECONDS, Number, count
from pooldaemon.console import steering

WAIT = Number(0, MAX_SECONDS)


def add_arguments(parser: CommandParser) -> None:
    steering.add_arguments(parser)
    parser.add_argument(
        "--wait",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait until all connections are closed; 0: do not wait; default: 30",
    )


def run(options: Mapping[str, Any], out: OutputWrapper) -> None:
    seconds = options["wait"]
    if not WAIT.accepts(seconds):
        raise CommandError(f"--wait is {seconds:g}; it must be {WAIT}.")
    daemon = steering.send("pause", options, out)
    if not seconds:
        return
    status = steering.wait_for(daemon, lambda status: not any(_open(status)), seconds)
    if not any(_open(status)):
        out.write(f"{daemon.name}: all connections are closed")
        return
    left = sum(pool["total"] for pool in _open(status))
    holders = "".join(
        f"\n{holder['thread']} for {holder['seconds']:.1f} s, borrowed at {holder['place']}"
        for pool in _open(status)
        for holder in pool["holders"]
    )
    still_open = f"{count(left, 'connection')} {'is' if left == 1 else 'are'} still"
    raise CommandError(
        f"{daemon.name}: paused, but after {seconds:g} s {still_open} open.{holders}"
    )


def _open(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The paused pools that still have connections."""
    for worker in status["workers"]:
        yield from (pool for pool in worker["pools"] if pool["paused"] and pool["total"])
