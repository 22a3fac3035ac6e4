"""Prometheus, a daemon: all its processes, as its control socket tells of them."""

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

Told = Mapping[str, Any]

Family = tuple[type[GaugeMetricFamily | CounterMetricFamily], str, str, Callable[[Told], Any]]
"""The kind, the name, the help, and where the value is."""

OF_DAEMON: tuple[Family, ...] = (
    (
        GaugeMetricFamily,
        "pooldaemon_uptime_seconds",
        "Since the daemon was started.",
        lambda told: told["uptime"],
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_ready",
        "1 while all workers that there should be are ready.",
        lambda told: told["ready"],
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_processes",
        "Worker processes that there should be.",
        lambda told: told["processes"],
    ),
    (
        CounterMetricFamily,
        "pooldaemon_units",
        "Units of work done, by dead workers too.",
        lambda told: told["units"],
    ),
    (
        CounterMetricFamily,
        "pooldaemon_unit_failures",
        "Units of work that failed, of dead workers too.",
        lambda told: told["failures"],
    ),
    (
        CounterMetricFamily,
        "pooldaemon_restarts",
        "Workers replaced, planned or not.",
        lambda told: told["restarts"],
    ),
    (
        CounterMetricFamily,
        "pooldaemon_reloads",
        "Reloads begun.",
        lambda told: told["reload"]["number"],
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_last_reload_successful",
        "0 if the last reload failed.",
        lambda told: told["reload"]["state"] != "failed",
    ),
)

OF_WORKER: tuple[Family, ...] = (
    (
        GaugeMetricFamily,
        "pooldaemon_worker_busy_threads",
        "Threads inside a unit of work.",
        lambda worker: worker["busy"],
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_worker_longest_unit_seconds",
        "How long the oldest unit under way has been running.",
        lambda worker: worker["longest"][1] if worker["longest"] else 0,
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_worker_resident_memory_bytes",
        "Memory in use.",
        lambda worker: worker["rss"],
    ),
    (
        GaugeMetricFamily,
        "pooldaemon_worker_silent_seconds",
        "Since the worker's last sign of life.",
        lambda worker: worker["silent"],
    ),
    (
        CounterMetricFamily,
        "pooldaemon_worker_restarts",
        "How often the worker of this name was replaced.",
        lambda worker: worker["restarts"],
    ),
)


class DaemonCollector(Collector):
    """A daemon, asked when it is scraped. Thread-safe.

    :param path: its control socket. :param name: the value of the label ``daemon``.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily(
            "pooldaemon_up", "1 if the daemon's supervisor answers.", labels=["daemon"]
        )
        try:
            told = ask(self._path, "status")
        except OSError:
            up.add_metric([self._name], 0)
            return [up]
        up.add_metric([self._name], 1)
        return [up, *daemon_metrics(self._name, told)]

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering it does not ask the daemon."""
        return []


def daemon_metrics(name: str, told: Told) -> list[Metric]:
    """
    :param told: the daemon's answer to ``status``.

    Each worker has time series of its own, by its name, which its replacement takes over: if they
    were summed up here, a sum would fall when a worker ends, and Prometheus would take that for a
    counter that began anew.
    """
    workers = {worker["name"]: worker for worker in told["workers"]}
    states = GaugeMetricFamily(
        "pooldaemon_workers", "Worker processes, by state.", labels=["daemon", "state"]
    )
    for state, count in Counter(worker["state"] for worker in workers.values()).items():
        states.add_metric([name, state], count)
    rows: list[Row] = [
        ((name, worker), pool)
        for worker, told_by in workers.items()
        for pool in by_name(map(_pool, told_by["pools"]))
    ]
    return [
        states,
        *(_family(one, ["daemon"], {(name,): told}) for one in OF_DAEMON),
        *(
            _family(one, ["daemon", "worker"], {(name, key): w for key, w in workers.items()})
            for one in OF_WORKER
        ),
        *pool_metrics(rows, ("daemon", "worker")),
    ]


def _family(family: Family, labels: list[str], told: Mapping[tuple[str, ...], Told]) -> Metric:
    kind, name, text, read = family
    metric = kind(name, text, labels=labels)
    for values, answers in told.items():
        metric.add_metric(values, read(answers))
    return metric


def _pool(told: Told) -> PoolStats:
    """What is not known here is left out: the worker may run other code than we do."""
    known = {field.name for field in fields(PoolStats)} - {"holders"}
    values = {name: value for name, value in told.items() if name in known}
    for name in ("wait", "use", "connect"):
        times = told[name]
        values[name] = Histogram(tuple(times["counts"]), times["total"])
    return PoolStats(**values)
