"""Runs in the parent: an operator's commands for the pools of all workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from django.db import connections

from pooldaemon.conf import MAX_CONNECTIONS, nearest, of_database
from pooldaemon.pool_commands import PoolCommand, StandingCommands
from pooldaemon.workers.process.shapes import CAP, shown
from pooldaemon.workers.supervisor.worker_set import WorkerSet

logger = logging.getLogger("pooldaemon.supervisor")


class CommandRelay:
    """Passes commands on to workers, and keeps those that stand for workers to come.

    :param taken_over: what :meth:`hand_over` of the last supervisor's returned; empty if that knew
        no commands.
    """

    def __init__(self, worker_set: WorkerSet, taken_over: Mapping[str, Any]) -> None:
        self._worker_set = worker_set
        self._number: int = taken_over.get("number", 0)
        standing = taken_over.get("standing", ())
        self._standing = StandingCommands(map(PoolCommand.of, standing))

    def hand_over(self) -> dict[str, Any]:
        """Its state for the re-executed supervisor, as JSON."""
        return {"number": self._number, "standing": self.describe()}

    def describe(self) -> list[dict[str, Any]]:
        """The standing commands, for ``status``."""
        return [asdict(command) for command in self._standing]

    def standing(self) -> Iterator[PoolCommand]:
        """The standing commands for a new worker, within its present share of the total."""
        for command in self._standing:
            if command.size is None:
                yield command
            else:
                yield replace(command, size=min(command.size, self._most(command.pool)))

    def take(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send the command in *request* to all workers; returns the answer.

        The answer has the command's ``number``; ``workers``: the pids of those it was sent to, by
        name, which report in ``status`` what they have done; ``unsupported``: the names of those
        whose version has no such commands.
        """
        try:
            command = self._read(request)
        except ValueError as error:
            return {"error": str(error)}
        self._number += 1
        self._standing.add(command)
        size = "" if command.size is None else f" to {command.size}"
        logger.info("%s%s: %s", command.verb, size, command.pool or "all pools")
        receivers, unsupported = {}, []
        for worker in self._worker_set.workers.values():
            if worker.commands is None:
                unsupported.append(worker.name)
            else:
                worker.commands.send("command", number=self._number, **asdict(command))
                receivers[worker.name] = worker.pid
        return {"number": self._number, "workers": receivers, "unsupported": unsupported}

    def _read(self, request: Mapping[str, Any]) -> PoolCommand:
        """:raises ValueError: the command is not valid."""
        verb, pool = request["command"], request.get("pool")
        if pool is not None:
            self._check_pool(pool)
        if verb != "resize":
            return PoolCommand(verb, pool)
        size: Any = request.get("size")
        if not CAP.accepts(size):
            raise ValueError(f"the size is {shown(size)}; it must be {CAP}")
        if size > (most := self._most(pool)):
            raise ValueError(
                f"the size is {size}; total_connections is enough for {most} in each worker"
            )
        return PoolCommand(verb, pool, size)

    def _most(self, pool: str | None) -> int:
        """Connections that a worker's pool may have, so that the daemon's total holds."""
        bounds = self._worker_set.bounds
        if pool is not None and pool in set(connections):
            return of_database(bounds, pool) or MAX_CONNECTIONS
        return min(bounds.values(), default=MAX_CONNECTIONS)  # it may be any database's

    def _check_pool(self, pool: Any) -> None:
        reported = (worker.view.pool_names for worker in self._worker_set.workers.values())
        names = sorted(set(connections).union(*reported))
        if pool not in names:
            hint = nearest(str(pool), names)
            raise ValueError(f"there is no pool {shown(pool)}.{hint} Valid: {', '.join(names)}")
