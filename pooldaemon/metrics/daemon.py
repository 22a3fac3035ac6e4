"""Prometheus metrics of a daemon with all its processes, read from its control socket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pooldaemon.metrics.pools import by_name
from pooldaemon.metrics.prometheus import Row, pool_metrics
from pooldaemon.stats import Histogram, PoolStats
from pooldaemon.workers.ipc.control import ask

Status = Mapping[str, Any]

Family = tuple[type[GaugeMetricFamily | CounterMetricFamily], str, str, Callable[[Status], Any]]
"""The type, the name, the help, and the function that reads the value."""

OF_DAEMON: tuple[Family, ...] = (
    (
        GaugeMetricFamily,
        "pooldaemon_uptime_seconds",
        "Seconds since the daemon was started.",
        lambda status: status["uptime"],
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_ready",
        "1 while all workers are ready.",
        lambda status: status["ready"],
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_processes",
        "The configured number of worker processes.",
        lambda status: status["processes"],
    ),
    (
        CounterMetricFamily,
        "pooldaemon_units",
        "Units of work that have ended, including those of replaced workers.",
        lambda status: status["units"],
    ),
    (
        CounterMetricFamily,
        "pooldaemon_unit_failures",
        "Units of work that have failed, including those of replaced workers.",
        lambda status: status["failures"],
    ),
    (
        CounterMetricFamily,
        "pooldaemon_restarts",
        "Workers replaced, planned or not.",
        lambda status: status["restarts"],
    ),
    (
        CounterMetricFamily,
        "pooldaemon_reloads",
        "Reloads that have been started.",
        lambda status: status["reload"]["number"],
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_last_reload_successful",
        "0 if the last reload failed.",
        lambda status: status["reload"]["state"] != "failed",
    ),
)

OF_WORKER: tuple[Family, ...] = (
    (
        GaugeMetricFamily,
        "pooldaemon_worker_busy_threads",
        "Threads that are in a unit of work.",
        lambda worker: worker["busy"],
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_worker_longest_unit_seconds",
        "For how long the longest running unit of work has been running.",
        lambda worker: worker["longest"][1] if worker["longest"] else 0,
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_worker_resident_memory_bytes",
        "Resident memory.",
        lambda worker: worker["rss"],
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_worker_silent_seconds",
        "Seconds since the worker's last message.",
        lambda worker: worker["silent"],
    ),
    (
        CounterMetricFamily,
        "pooldaemon_worker_restarts",
        "How often the worker of this name has been replaced.",
        lambda worker: worker["restarts"],
    ),
)


class DaemonCollector(Collector):
    """Asks a daemon for its status on each scrape. Thread-safe.

    :param path: the daemon's control socket.
    :param name: the value of the label ``daemon``.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily(
            "pooldaemon_up", "1 if the daemon's supervisor answers.", labels=["daemon"]
        )
        try:
            status = ask(self._path, "status")
        except OSError:
            up.add_metric([self._name], 0)
            return [up]
        up.add_metric([self._name], 1)
        return [up, *daemon_metrics(self._name, status)]

    def describe(self) -> Iterable[Metric]:
        """Empty, so that registering it does not ask the daemon."""
        return []


def daemon_metrics(name: str, status: Status) -> list[Metric]:
    """The metrics of a daemon.

    Each worker has its own time series, by its name, which its replacement takes over. A sum over
    workers would fall when one is replaced, and Prometheus would take that for a counter reset.

    :param name: the value of the label ``daemon``.
    :param status: the daemon's status.
    """
    workers = {worker["name"]: worker for worker in status["workers"]}
    states = GaugeMetricFamily(
        "pooldaemon_workers", "Worker processes, by state.", labels=["daemon", "state"]
    )
    for state, count in Counter(worker["state"] for worker in workers.values()).items():
        states.add_metric([name, state], count)
    rows: list[Row] = [
        ((name, worker), pool)
        for worker, reported in workers.items()
        for pool in by_name(map(_pool, reported["pools"]))
    ]
    return [
        states,
        *(_family(one, ["daemon"], {(name,): status}) for one in OF_DAEMON),
        *(
            _family(one, ["daemon", "worker"], {(name, key): w for key, w in workers.items()})
            for one in OF_WORKER
        ),
        *pool_metrics(rows, ("daemon", "worker")),
    ]


def _family(family: Family, labels: list[str], status: Mapping[tuple[str, ...], Status]) -> Metric:
    kind, name, text, read = family
    metric = kind(name, text, labels=labels)
    for values, answers in status.items():
        metric.add_metric(values, read(answers))
    return metric


def _pool(status: Status) -> PoolStats:
    """From a status. Unknown keys are ignored: the daemon may run another version of this
    package."""
    known = {field.name for field in fields(PoolStats)} - {"holders"}
    values = {name: value for name, value in status.items() if name in known}
    for name in ("wait", "use", "connect"):
        times = status[name]
        values[name] = Histogram(tuple(times["counts"]), times["total"])
    return PoolStats(**values)
