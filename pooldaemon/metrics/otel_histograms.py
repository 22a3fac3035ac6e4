"""Adds the pools' own histograms to what a reader of OpenTelemetry's SDK has collected."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry.sdk.metrics import Histogram as SDKHistogram
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricReader,
    MetricsData,
    ScopeMetrics,
)

from pooldaemon import stats
from pooldaemon.connections import pool_stats
from pooldaemon.metrics.otel_names import POOL_NAME, SCOPE
from pooldaemon.metrics.pools import by_name, knows_its_queue


@dataclass(frozen=True)
class Times:
    name: str
    description: str
    read: Callable[[stats.PoolStats], stats.Histogram]


TIMES = (
    Times(
        "db.client.connection.create_time",
        "The time it took to create a new connection.",
        lambda pool: pool.connect,
    ),
    Times(
        "db.client.connection.wait_time",
        "The time it took to obtain an open connection from the pool.",
        lambda pool: pool.wait,
    ),
    Times(
        "db.client.connection.use_time",
        "The time between borrowing a connection and returning it to the pool.",
        lambda pool: pool.use,
    ),
)

Collect = Callable[..., MetricsData | None]


class Histograms:
    """Adds histograms for one reader, which collects in one thread at a time.

    :param collect: the SDK's function by which the reader collects.
    """

    def __init__(self, reader: MetricReader, collect: Collect) -> None:
        self._collect = collect
        self._delta = _wants_deltas(reader)
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._since = time.time_ns()
        self._exported: dict[str, stats.PoolStats] = {}

    def collect(self, reader: MetricReader, **options: Any) -> MetricsData | None:
        """Replaces the SDK's function of this name."""
        collected = self._collect(reader, **options)
        if collected is None:
            return None
        if self._pid != os.getpid():
            self._begin()  # in a forked child, whose pools are new
        now = time.time_ns()
        metrics = self._metrics(now)
        if self._delta:
            self._since = now
        resources = [
            replace(one, scope_metrics=[_extend(scope, metrics) for scope in one.scope_metrics])
            for one in collected.resource_metrics
        ]
        return MetricsData(resources)

    def _metrics(self, now: int) -> list[Metric]:
        pools = [pool for pool in by_name(pool_stats()) if knows_its_queue(pool)]
        kind = AggregationTemporality.DELTA if self._delta else AggregationTemporality.CUMULATIVE
        metrics = [
            Metric(
                times.name,
                times.description,
                "s",
                Histogram([self._point(times, pool, now) for pool in pools], kind),
            )
            for times in TIMES
        ]
        self._exported = {pool.name: pool for pool in pools}
        return metrics

    def _point(self, times: Times, pool: stats.PoolStats, now: int) -> HistogramDataPoint:
        measured = times.read(pool)
        before = self._exported.get(pool.name) if self._delta else None
        if before is not None and before.connects <= pool.connects:  # not opened again since
            measured = _less(measured, times.read(before))
        return HistogramDataPoint(
            attributes={POOL_NAME: pool.name},
            start_time_unix_nano=self._since,
            time_unix_nano=now,
            count=measured.count,
            sum=measured.total,
            bucket_counts=measured.counts,
            explicit_bounds=stats.BOUNDS,
            # The SDK's values for a minimum and maximum that are not recorded.
            min=math.inf,
            max=-math.inf,
        )


def _wants_deltas(reader: MetricReader) -> bool:
    preferred: Any = reader._preferred_temporality or {}
    return preferred.get(SDKHistogram) is AggregationTemporality.DELTA


def _less(now: stats.Histogram, before: stats.Histogram) -> stats.Histogram:
    # A count that was read while it changed may be lower by one now.
    counts = tuple(max(0, a - b) for a, b in zip(now.counts, before.counts, strict=True))
    return stats.Histogram(counts, now.total - before.total)


def _extend(scope: ScopeMetrics, metrics: Sequence[Metric]) -> ScopeMetrics:
    if scope.scope.name != SCOPE:
        return scope
    return replace(scope, metrics=[*scope.metrics, *metrics])
