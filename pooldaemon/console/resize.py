"""``manage.py pooldaemon resize``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper

from pooldaemon.console import steering


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "size", type=int, metavar="N", help="the new cap in each worker, in connections, 1 or more"
    )
    steering.add_arguments(parser)


def run(options: Mapping[str, Any], out: OutputWrapper) -> None:
    steering.send("resize", options, out, size=options["size"])
