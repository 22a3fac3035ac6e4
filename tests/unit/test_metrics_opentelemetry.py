"""The pools of a process, as OpenTelemetry's SDK collects them."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from django.db import connections
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
)

from pooldaemon import pool_stats
from pooldaemon.metrics.opentelemetry import instrument
from pooldaemon.stats import BOUNDS
from tests.unit.databases import AddDatabase

POOL = "db.client.connection.pool.name"
STATE = "db.client.connection.state"

NAMES_AND_UNITS = {
    "db.client.connection.count": "{connection}",
    "db.client.connection.idle.max": "{connection}",
    "db.client.connection.idle.min": "{connection}",
    "db.client.connection.max": "{connection}",
    "db.client.connection.pending_requests": "{request}",
    "db.client.connection.timeouts": "{timeout}",
    "db.client.connection.create_time": "s",
    "db.client.connection.wait_time": "s",
    "db.client.connection.use_time": "s",
}
"""As the conventions have them."""

DELTA = {Histogram: AggregationTemporality.DELTA}


class Export:
    """A reader of a provider of its own, which is instrumented."""

    def __init__(self, preferred: Mapping[type, AggregationTemporality] | None = None) -> None:
        self.reader = InMemoryMetricReader(preferred_temporality=dict(preferred or {}))
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        instrument(self.provider)

    def metrics(self) -> dict[str, Metric]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        (resource,) = data.resource_metrics
        return {m.name: m for scope in resource.scope_metrics for m in scope.metrics}

    def points(self, name: str) -> dict[tuple[Any, ...], Any]:
        points = self.metrics()[f"db.client.connection.{name}"].data.data_points
        return {tuple(point.attributes.values()): point for point in points}

    def values(self, name: str) -> dict[tuple[Any, ...], float]:
        return {key: point.value for key, point in self.points(name).items()}

    def times(self, name: str) -> HistogramDataPoint:
        (point,) = self.points(name).values()
        return point


def borrow(alias: str) -> None:
    connections[alias].ensure_connection()


def return_connection(alias: str) -> None:
    connections[alias].close()


def test_names_and_units_are_those_of_the_conventions(alias: str) -> None:
    borrow(alias)
    assert {m.name: m.unit for m in Export().metrics().values()} == NAMES_AND_UNITS


def test_the_values_are_the_pools(add_sqlite: AddDatabase) -> None:
    alias = add_sqlite(pool_size=3, min_idle=1)
    borrow(alias)
    export, (pool,) = Export(), pool_stats()
    assert export.values("count") == {(pool.name, "used"): 1, (pool.name, "idle"): 0}
    assert export.values("max") == export.values("idle.max") == {(pool.name,): 3}
    assert export.values("idle.min") == {(pool.name,): 1}
    assert export.values("pending_requests") == export.values("timeouts") == {(pool.name,): 0}
    (point,) = export.points("max").values()
    assert dict(point.attributes) == {POOL: pool.name}
    assert all(set(p.attributes) == {POOL, STATE} for p in export.points("count").values())


def test_histograms_are_the_pools_own(alias: str) -> None:
    borrow(alias)
    return_connection(alias)
    export, (pool,) = Export(), pool_stats()
    for name, times in (
        ("create_time", pool.connect),
        ("wait_time", pool.wait),
        ("use_time", pool.use),
    ):
        point = export.times(name)
        assert (point.count, point.sum) == (times.count, times.total) == (1, times.total)
        assert tuple(point.bucket_counts) == times.counts
        assert tuple(point.explicit_bounds) == BOUNDS
        assert point.start_time_unix_nano < point.time_unix_nano
        data = export.metrics()[f"db.client.connection.{name}"].data
        assert data.aggregation_temporality is AggregationTemporality.CUMULATIVE


def test_a_reader_that_wants_deltas_gets_what_has_come_since(alias: str) -> None:
    export = Export(DELTA)
    for _ in range(2):
        borrow(alias)
        return_connection(alias)
    first = export.times("use_time")
    borrow(alias)
    return_connection(alias)
    second = export.times("use_time")
    assert (first.count, second.count, export.times("use_time").count) == (2, 1, 0)
    assert first.sum + second.sum == pytest.approx(pool_stats()[0].use.total)
    assert second.start_time_unix_nano == first.time_unix_nano
    data = export.metrics()["db.client.connection.use_time"].data
    assert data.aggregation_temporality is AggregationTemporality.DELTA


def test_each_reader_has_its_own_deltas(alias: str) -> None:
    readers = [InMemoryMetricReader(preferred_temporality=dict(DELTA)) for _ in range(2)]
    instrument(MeterProvider(readers, shutdown_on_exit=False))
    borrow(alias)
    for reader in readers:
        assert '"count": 1' in reader.get_metrics_data().to_json()


def test_instrumenting_twice_is_like_once(alias: str) -> None:
    export = Export()
    instrument(export.provider)
    borrow(alias)
    assert sum(export.values("count").values()) == 1
    assert export.times("create_time").count == 1


def test_other_metrics_of_the_application_stay(alias: str) -> None:
    export = Export()
    export.provider.get_meter("shop").create_counter("orders").add(2)
    assert set(export.metrics()) == {"orders"}  # no pool yet
    borrow(alias)
    assert set(export.metrics()) == {"orders", *NAMES_AND_UNITS}


def test_without_pools_there_is_nothing() -> None:
    assert Export().metrics() == {}


def test_of_sqlalchemys_own_pools_nothing_is_exported(add_sqlite: AddDatabase) -> None:
    borrow(add_sqlite(poolclass="QueuePool"))
    assert Export().metrics() == {}


def test_a_provider_without_readers_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pooldaemon.metrics"):
        instrument(NoOpMeterProvider())
    assert "NoOpMeterProvider is not the SDK's MeterProvider" in caplog.text
