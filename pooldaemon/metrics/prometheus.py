"""Prometheus, one process: the pools of this process, read when it is scraped.

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
"""The values of the labels that go before the pool's name, and a pool."""


class PoolCollector(Collector):
    """The pools of this process. A forked child tells of its own. Thread-safe."""

    def collect(self) -> Iterable[Metric]:
        return pool_metrics([((), pool) for pool in by_name(pool_stats())])

    def describe(self) -> Iterable[Metric]:
        """Its names, so that registering it asks no pool."""
        return pool_metrics([])


def register(registry: CollectorRegistry = REGISTRY) -> None:
    """Have *registry* tell of this process's pools. For one process that is scraped by itself;
    several behind one address use ``publish()`` of ``pooldaemon.metrics.multiprocess``.

    :raises ValueError: it does so already.
    """
    registry.register(PoolCollector())


def pool_metrics(rows: Sequence[Row], labels: Sequence[str] = ()) -> list[Metric]:
    """
    :param rows: in which no name of a pool occurs twice with the same values of *labels*.
    :param labels: the names of those that go before ``pool``.
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
