"""``manage.py pooldaemon list``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper

from pooldaemon.console.daemons import add_directory, search


def add_arguments(parser: CommandParser) -> None:
    add_directory(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: Mapping[str, Any], out: OutputWrapper) -> None:
    daemons = search(options["directory"])
    if options["json"]:
        told = [
            {"name": one.name, "pid": one.pid, "alive": one.is_alive, "socket": str(one.socket)}
            for one in daemons
        ]
        out.write(json.dumps(told))
        return
    for daemon in daemons:
        state = f"runs as pid {daemon.pid}" if daemon.is_alive else "dead, its socket is left"
        out.write(f"{daemon.name}: {state}")
