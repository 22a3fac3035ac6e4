"""A server restarts under 16 working threads: how soon all of them work again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter, sleep

from django.db import DatabaseError

from benchmarks import contenders as c
from benchmarks.bench import Bench
from benchmarks.measure import interleave
from benchmarks.result import Bars, Result, Skipped
from benchmarks.server import Target
from tests.support.poll import wait_until
from tests.support.server import Server

THREADS = 16
CONNECTIONS = 4
PAUSE = 0.01
"""Seconds between a thread's units. Without it some threads of an unfair pool would get nothing
with no restart at all, and a contender that fails fast would fail more often."""

LIMIT = 60.0
"""Seconds after which a contender that has not recovered fails the run."""

SECTION = "Restart"
RECOVERY = "ms until all threads worked again"


def run(bench: Bench) -> Result:
    if bench.kind != "mariadb":
        raise Skipped("it restarts a server of its own, which is a MariaDB")
    rounds = bench.rounds(3)
    result = Result(
        "Restart of the server",
        f"{THREADS} threads run units of SELECT 1, {PAUSE * 1000:g} ms apart, while the server (a "
        "separate MariaDB) is shut down and started again. Pools have "
        f"{CONNECTIONS} connections. The time is measured from the moment when the server accepts "
        "logins again until every thread has finished a unit that began after it. Errors are "
        "counted separately for units that began before and after that moment.",
        rounds,
        plots=[Bars(RECOVERY)],
    )
    with Server() as server:
        everybody = c.field(Target.from_url(server.url), size=CONNECTIONS)
        with c.opened(everybody, result.notes) as running:
            measured = interleave(running, rounds, lambda contender: _restart(server, contender))
            for contender, values in zip(running, measured, strict=True):
                result.add(SECTION, contender.label, values)
    return result


@dataclass
class _Worker:
    """One thread's work.

    :ivar succeeded: when each unit that succeeded began and ended; :ivar failed: when each that
        did not began.
    """

    succeeded: list[tuple[float, float]] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)

    def run(self, contender: c.Contender, stop: threading.Event) -> None:
        while not stop.is_set():
            began = perf_counter()
            try:
                contender.query("SELECT 1")
                self.succeeded.append((began, perf_counter()))
            except DatabaseError:
                self.failed.append(began)
            contender.done()
            sleep(PAUSE)
        contender.leave_thread()

    def worked(self, since: float) -> float | None:
        """When its first unit begun after *since* had succeeded."""
        return next((ended for began, ended in self.succeeded if began >= since), None)


def _restart(server: Server, contender: c.Contender) -> Mapping[str, float]:
    workers = [_Worker() for _ in range(THREADS)]
    stop = threading.Event()
    threads = [threading.Thread(target=w.run, args=[contender, stop]) for w in workers]
    for thread in threads:
        thread.start()
    try:
        _wait_for_all(workers, perf_counter(), contender)
        away = perf_counter()
        server.restart()
        back = perf_counter()
        _wait_for_all(workers, back, contender)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    recovered = max(worker.worked(back) or 0.0 for worker in workers)
    late = sum(began >= back for worker in workers for began in worker.failed)
    return {
        RECOVERY: (recovered - back) * 1000,
        "errors while away": sum(len(worker.failed) for worker in workers) - late,
        "errors after": late,
        "ms away": (back - away) * 1000,
    }


def _wait_for_all(workers: list[_Worker], since: float, contender: c.Contender) -> None:
    wait_until(
        lambda: all(worker.worked(since) for worker in workers),
        LIMIT,
        f"{contender.label}: not every thread worked",
    )
