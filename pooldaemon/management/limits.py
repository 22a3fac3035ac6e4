"""Whether the server lets the workers open as many connections as they may."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence

from django.db import connections

from pooldaemon.conf import DaemonConfig
from pooldaemon.sessions import server_limits
from pooldaemon.workers.budget import RESERVE, Budget
from pooldaemon.workers.forking import fork
from pooldaemon.workers.nursery import HELPER_TIMEOUT

Limits = tuple[str, int | None, str, int]
"""A database's alias, its pool's cap, the server's tightest limit and its name."""


def excesses(config: DaemonConfig, databases: Sequence[str]) -> list[str]:
    """A sentence for each database whose server allows less than the workers may open.

    Asked by a short-lived process, since a supervisor never has a connection. A server that does
    not answer is passed over: the first worker will tell.
    """
    aliases = [alias for alias in databases if connections[alias].vendor == "mysql"]
    cap = Budget(config.total_connections, config.max_connections).share(config.processes)
    if not aliases:
        return []
    read_end, write_end = os.pipe()

    def run() -> int:
        signal.alarm(HELPER_TIMEOUT)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        try:
            found = [server_limits(alias, cap) for alias in aliases]
        except Exception:  # noqa: BLE001 - whatever it is, the first worker tells it better
            found = []
        os.write(write_end, json.dumps(found).encode())
        return 0

    pid = fork("a helper", run, lambda: os.close(read_end))
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    found: list[Limits] = json.loads(told or "[]")
    return [sentence for limits in found if (sentence := _judge(config, *limits))]


def _judge(config: DaemonConfig, alias: str, cap: int | None, name: str, limit: int) -> str | None:
    if cap is None:
        return None
    needed = config.processes * cap + RESERVE
    if needed <= limit:
        return None
    return (
        f"{alias}: {config.processes} processes of {cap} connections, and {RESERVE} for helpers, "
        f"are {needed}, but the server allows {limit} ({name})"
    )
