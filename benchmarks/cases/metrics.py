"""The hot cycle while its pool is exported every second, beside the same without."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from statistics import mean
from time import process_time

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks import contenders as c
from benchmarks.bench import Bench
from benchmarks.cases.hot_cycle import MEAN, cycle
from benchmarks.measure import MICRO, interleave, time_each
from benchmarks.result import Bars, Result
from pooldaemon.metrics.opentelemetry import instrument
from pooldaemon.metrics.prometheus import register

PROCESSOR = "µs of processor time per cycle"
COLUMNS = {"Cycle": MEAN, "Processor": PROCESSOR}
"""By section."""

OFF = "metrics off"
OPENTELEMETRY = "OpenTelemetry, exported every second"
PROMETHEUS = "Prometheus, scraped every second"
INTERVAL = 1.0


@dataclass(frozen=True)
class Watch:
    """One way to look at the pool; inside *begun* somebody does."""

    label: str
    begun: Callable[[], AbstractContextManager[None]]


def run(bench: Bench) -> Result:
    rounds = bench.rounds(20)
    seconds = bench.of(2.1, 1.1)  # of which two exports are a part
    result = Result(
        "Metrics",
        "The hot cycle runs in one thread, while another thread of the same process exports the "
        "pool's metrics every second: with OpenTelemetry's SDK as text, or for a Prometheus "
        "scrape. Times are means, because a median would not show the exports. The processor time "
        "is that of the whole process.",
        rounds,
        plots=[Bars(MEAN)],
    )
    watches = [Watch(OFF, nullcontext), Watch(OPENTELEMETRY, _otel), Watch(PROMETHEUS, _prometheus)]
    with c.opened([c.ours(bench.target, size=4)], result.notes) as (ours,):

        def measure(watch: Watch) -> Mapping[str, float]:
            with watch.begun():
                before = process_time()
                times = time_each(seconds, partial(cycle, ours))
                used = process_time() - before
            return {MEAN: mean(times) * MICRO, PROCESSOR: used / len(times) * MICRO}

        measured = interleave(watches, rounds, measure)
    for watch, values in zip(watches, measured, strict=True):
        for section, column in COLUMNS.items():
            result.add(section, watch.label, {column: values[column]})
    for watch in watches[1:]:
        for section, column in COLUMNS.items():
            result.compare(section, watch.label, OFF, column, at_most=1.03)
    return result


@contextmanager
def _otel() -> Iterator[None]:
    exporter = ConsoleMetricExporter(out=io.StringIO())
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=INTERVAL * 1000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument(provider)
    try:
        yield
    finally:
        provider.shutdown()


@contextmanager
def _prometheus() -> Iterator[None]:
    registry, over = CollectorRegistry(), threading.Event()
    register(registry)

    def scrape() -> None:
        while not over.wait(INTERVAL):
            generate_latest(registry)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
