"""OpenTelemetry metrics of this process's pools, by the semantic conventions for database clients.

Needs ``opentelemetry-sdk``: ``pip install 'pooldaemon[opentelemetry]'``.

Counters are observable instruments, read when a reader collects. There are no observable
histograms, and recording each wait in a histogram would cost each borrow microseconds. So the
pools' own histograms are added to what a reader has collected. In the specification a
MetricProducer does that, which the Python SDK does not have.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from typing import Any

from pooldaemon.exceptions import ImproperlyConfigured

try:
    from opentelemetry.sdk.metrics import MeterProvider as SDKMeterProvider
except ImportError as error:
    raise ImproperlyConfigured(
        "pooldaemon.metrics.opentelemetry needs opentelemetry-sdk: "
        f"pip install 'pooldaemon[opentelemetry]' ({error})"
    ) from error

from opentelemetry.metrics import (
    CallbackOptions,
    MeterProvider,
    Observation,
    get_meter_provider,
)

from pooldaemon.connections import pool_stats
from pooldaemon.metrics.otel_histograms import Histograms
from pooldaemon.metrics.otel_names import POOL_NAME, SCHEMA_URL, SCOPE, STATE
from pooldaemon.metrics.pools import by_name, knows_its_queue
from pooldaemon.stats import PoolStats

logger = logging.getLogger("pooldaemon.metrics")

Observe = Callable[[PoolStats], Iterable[Observation]]

_instrumented: weakref.WeakSet[MeterProvider] = weakref.WeakSet()


def instrument(meter_provider: MeterProvider | None = None) -> None:
    """Export the metrics of this process's pools from now on. A second call does nothing.

    Call it in each process that borrows connections, after the provider has got its readers. In a
    daemon call it in ``worker_init()``: a supervisor must not have threads, such as a reader's.

    :param meter_provider: default: the global one.
    """
    provider = meter_provider or get_meter_provider()
    if provider in _instrumented:
        return
    _instrumented.add(provider)
    meter = provider.get_meter(SCOPE, version("pooldaemon"), schema_url=SCHEMA_URL)
    counted = partial(meter.create_observable_up_down_counter, unit="{connection}")
    counted(
        "db.client.connection.count",
        [_each(_count)],
        description="The number of connections that are currently in state described by the "
        "`state` attribute.",
    )
    counted(
        "db.client.connection.idle.max",
        [_each(_cap)],
        description="The maximum number of idle open connections allowed.",
    )
    counted(
        "db.client.connection.idle.min",
        [_each(_of_ours(lambda pool: pool.min_idle))],
        description="The minimum number of idle open connections allowed.",
    )
    counted(
        "db.client.connection.max",
        [_each(_cap)],
        description="The maximum number of open connections allowed.",
    )
    meter.create_observable_up_down_counter(
        "db.client.connection.pending_requests",
        [_each(_of_ours(lambda pool: pool.waiting))],
        unit="{request}",
        description="The number of current pending requests for an open connection.",
    )
    meter.create_observable_counter(
        "db.client.connection.timeouts",
        [_each(_of_ours(lambda pool: pool.timeouts))],
        unit="{timeout}",
        description="The number of connection timeouts that have occurred trying to obtain a "
        "connection from the pool.",
    )
    _add_histograms(provider)


def _each(observe: Observe) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def callback(options: CallbackOptions) -> Iterable[Observation]:
        return [seen for pool in by_name(pool_stats()) for seen in observe(pool)]

    return callback


def _count(pool: PoolStats) -> Iterable[Observation]:
    if knows_its_queue(pool):
        yield Observation(pool.in_use, {POOL_NAME: pool.name, STATE: "used"})
        yield Observation(pool.idle, {POOL_NAME: pool.name, STATE: "idle"})


def _cap(pool: PoolStats) -> Iterable[Observation]:
    """The cap is also the maximum of idle connections."""
    if pool.cap is not None:
        yield Observation(pool.cap, {POOL_NAME: pool.name})


def _of_ours(read: Callable[[PoolStats], int]) -> Observe:
    def observe(pool: PoolStats) -> Iterable[Observation]:
        if knows_its_queue(pool):
            yield Observation(read(pool), {POOL_NAME: pool.name})

    return observe


def _add_histograms(provider: MeterProvider) -> None:
    """Add the histograms between the provider and each of its readers, by private names of the SDK,
    which has no public ones for this."""
    readers = _readers(provider)
    if readers is None:
        logger.warning(
            "%s.%s is not the SDK's MeterProvider, or of an unknown version: the pools' create, "
            "wait and use times are not exported.",
            *(type(provider).__module__, type(provider).__qualname__),
        )
        return
    for reader in readers:
        reader._set_collect_callback(Histograms(reader, reader._collect).collect)


def _readers(provider: MeterProvider) -> Iterable[Any] | None:
    if not isinstance(provider, SDKMeterProvider):
        return None
    try:
        return provider._metric_readers  # since 1.43
    except AttributeError:
        config: Any = provider._sdk_config
        readers: Iterable[Any] | None = getattr(config, "metric_readers", None)
        return readers
