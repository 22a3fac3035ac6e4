"""Prometheus metrics of this process's pools, read on each scrape.

Needs ``prometheus_client``: ``pip install 'pooldaemon[prometheus]'``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from pooldaemon.exceptions import ImproperlyConfigured

try:
    from prometheus_client import REGISTRY, CollectorRegistry
except ImportError as error:
    raise ImproperlyConfigured(
        "pooldaemon.metrics.prometheus needs prometheus_client: "
        f"pip install 'pooldaemon[prometheus]' ({error})"
    ) from error

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pooldaemon.connections import pool_stats
from pooldaemon.metrics.instruments import COUNTERS, GAUGES, HISTOGRAMS, Number, Times
from pooldaemon.metrics.pools import by_name, knows_its_queue
from pooldaemon.stats import BOUNDS, Histogram, PoolStats

BUCKETS = (*map(str, BOUNDS), "+Inf")

Row = tuple[tuple[str, ...], PoolStats]
"""The values of the labels before the pool's name, and a pool."""


class PoolCollector(Collector):
    """Collects the pools of this process. Thread-safe and fork-safe: a forked child has its own."""

    def collect(self) -> Iterable[Metric]:
        return pool_metrics([((), pool) for pool in by_name(pool_stats())])

    def describe(self) -> Iterable[Metric]:
        """The metrics without values, so that registering it reads no pool."""
        return pool_metrics([])


def register(registry: CollectorRegistry = REGISTRY) -> None:
    """Add this process's pools to a registry.

    For a process with an address of its own. For several processes behind one address, call
    ``pooldaemon.metrics.multiprocess.publish()`` instead.

    :param registry: default: the global one.
    :raises ValueError: the pools have been added to it already.
    """
    registry.register(PoolCollector())


def pool_metrics(rows: Sequence[Row], labels: Sequence[str] = ()) -> list[Metric]:
    """The metrics of pools.

    :param rows: no two rows have the same labels and the same pool name.
    :param labels: the names of the labels before ``pool``.
    """
    names = (*labels, "pool")
    numbers = [
        _number(kind(one.name, one.help, labels=_labels_of(one, names)), one, rows)
        for kind, some in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS))
        for one in some
    ]
    return [*numbers, *(_times(one, rows, names) for one in HISTOGRAMS)]


def _labels_of(number: Number, names: tuple[str, ...]) -> tuple[str, ...]:
    return (*names, number.label) if number.label else names


def _number(
    family: GaugeMetricFamily | CounterMetricFamily, number: Number, rows: Sequence[Row]
) -> Metric:
    for values, pool in rows:
        for key, value in number.read(pool).items():
            own = (key,) if number.label else ()
            family.add_metric([*values, pool.name, *own], value)
    return family


def _times(times: Times, rows: Sequence[Row], names: tuple[str, ...]) -> Metric:
    family = HistogramMetricFamily(times.name, times.help, labels=names)
    for values, pool in rows:
        if knows_its_queue(pool):
            measured = times.read(pool)
            family.add_metric([*values, pool.name], _buckets(measured), measured.total)
    return family


def _buckets(times: Histogram) -> list[tuple[str, float]]:
    return list(zip(BUCKETS, accumulate(times.counts), strict=True))
