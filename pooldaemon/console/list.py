"""``manage.py pooldaemon list``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser, OutputWrapper

from pooldaemon.console.daemons import add_directory, search


def add_arguments(parser: CommandParser) -> None:
    add_directory(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Mapping[str, Any], out: OutputWrapper) -> None:
    daemons = search(options["directory"])
    if options["json"]:
        found = [
            {"name": one.name, "pid": one.pid, "alive": one.is_alive, "socket": str(one.socket)}
            for one in daemons
        ]
        out.write(json.dumps(found))
        return
    for daemon in daemons:
        state = "not running, but its socket is left"
        if daemon.is_alive:
            state = f"running, pid {daemon.pid}" if daemon.pid else "starting"
        out.write(f"{daemon.name}: {state}")
