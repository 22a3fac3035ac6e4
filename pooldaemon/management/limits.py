"""Compares the connections that workers may open with the limits of the servers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable, Sequence
from itertools import groupby

from django.db import connections

from pooldaemon.conf import DaemonConfig, PerDatabase, count, read_process_config
from pooldaemon.sessions import ServerLimits, query_server_limits
from pooldaemon.workers.supervisor.budget import RESERVE, Budget
from pooldaemon.workers.supervisor.spawner import HELPER_TIMEOUT, fork


def exceeded_limits(config: DaemonConfig, databases: Sequence[str]) -> list[str]:
    """A message for each limit of a server that is lower than what the workers may open there.

    A short-lived child process queries the servers, since a supervisor never has a connection.
    Servers that do not answer within :data:`HELPER_TIMEOUT` seconds are skipped: the first worker
    will log the error.

    :param databases: the databases that the workers use, in addition to those that *config* names.
    """
    caps = Budget(config.total_connections, config.max_connections).share(config.processes)
    named = [alias for alias in connections if alias in databases or alias in caps]
    aliases = [alias for alias in named if connections[alias].vendor == "mysql"]
    if not aliases:
        return []
    return compare(_ask(aliases, caps), config.processes)


def _ask(aliases: Sequence[str], caps: PerDatabase) -> list[ServerLimits]:
    read_end, write_end = os.pipe()

    def run() -> int:
        # The default action, by the kernel: a Python handler can't run while the driver waits.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HELPER_TIMEOUT)
        for each in query_server_limits(aliases, caps):
            os.write(write_end, json.dumps(each).encode() + b"\n")
        return 0

    pid = fork("helper", run, lambda: os.close(read_end))
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(pid, 0)
    return [ServerLimits(*json.loads(line)) for line in lines]


def compare(limits: Iterable[ServerLimits], processes: int) -> list[str]:
    """A message for each limit that is lower than what *processes* workers may open."""
    of_process = read_process_config().max_process_connections
    messages = [_compare(processes, of_process, *limit) for limit in _limits(limits)]
    return [message for message in messages if message]


Limit = tuple[str, int, list[ServerLimits]]
"""The server's variable, its value, and the databases that share the limit."""


def _limits(limits: Iterable[ServerLimits]) -> list[Limit]:
    """The limit of each server, and its limit for each account."""
    found: list[Limit] = []
    by_server = sorted(limits, key=lambda each: each.server)
    for _, group in groupby(by_server, key=lambda each: each.server):
        there = list(group)
        found.append(("max_connections", there[0].max_connections, there))
        by_account = sorted(there, key=lambda each: each.account)
        for _, of_account in groupby(by_account, key=lambda each: each.account):
            own = list(of_account)
            if limit := own[0].max_user_connections:  # 0: none
                found.append(("max_user_connections", limit, own))
    return found


def _compare(
    processes: int, of_process: int | None, name: str, limit: int, limits: list[ServerLimits]
) -> str | None:
    """
    :param of_process: ``MAX_PROCESS_CONNECTIONS``, or ``None``.
    """
    # Databases with equal settings share a pool. A pool without a cap counts as 0 by itself.
    caps = list({each.pool: each.cap for each in limits}.values())
    each, why = sum(cap or 0 for cap in caps), ""
    if of_process is not None and (None in caps or of_process < each):
        each, why = of_process, " (MAX_PROCESS_CONNECTIONS)"
    if not each:
        return None
    reserve = RESERVE * len(caps)
    needed = processes * each + reserve
    if needed <= limit:
        return None
    return (
        f"{', '.join(each.alias for each in limits)}: {count(processes, 'process')} with up to "
        f"{count(each, 'connection')} each{why}, and {reserve} for helper processes, need "
        f"{needed}, but the server allows {limit} ({name})"
    )
