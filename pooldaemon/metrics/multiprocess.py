"""Prometheus metrics of several processes behind one address: gunicorn, uWSGI, process pools.

In multiprocess mode of ``prometheus_client`` each process writes its metrics to files in a shared
directory (``PROMETHEUS_MULTIPROC_DIR``), and the process that is scraped adds them up. A collector
that reads the pools on a scrape would see one process only. So each process adds to its files every
few seconds what its pools have counted since the last time.

Needs ``prometheus_client``: ``pip install 'pooldaemon[prometheus]'``.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from typing import Final

from pooldaemon.exceptions import ImproperlyConfigured

try:
    from prometheus_client import Counter, Gauge, Histogram
except ImportError as error:
    raise ImproperlyConfigured(
        "pooldaemon.metrics.multiprocess needs prometheus_client: "
        f"pip install 'pooldaemon[prometheus]' ({error})"
    ) from error

from prometheus_client.values import ValueClass

from pooldaemon.connections import pool_stats
from pooldaemon.metrics.instruments import COUNTERS, GAUGES, HISTOGRAMS, Number
from pooldaemon.metrics.pools import by_name, knows_its_queue
from pooldaemon.stats import BOUNDS, PoolStats

logger = logging.getLogger("pooldaemon.metrics")

INTERVAL = 5.0
"""Seconds between two writes. Prometheus usually scrapes every 15 to 60."""


def publish(interval: float = INTERVAL) -> None:
    """Write the metrics of this process's pools to the shared directory from now on.

    A thread writes them every *interval* seconds, and once more when the process ends. A second
    call does nothing. Fork-safe: each forked child writes its own. Do not call it in the supervisor
    of a daemon, which must not have threads.

    :param interval: seconds. Default: 5.
    :raises django.core.exceptions.ImproperlyConfigured: ``PROMETHEUS_MULTIPROC_DIR`` was not set
        when ``prometheus_client`` was imported.
    """
    if not ValueClass._multiprocess:
        raise ImproperlyConfigured(
            "PROMETHEUS_MULTIPROC_DIR is not set: set it in the environment of the server to a "
            "directory that is empty when the server starts. For a single process, call "
            "pooldaemon.metrics.prometheus.register() instead."
        )
    if not _writers:
        _writers.append(Writer(Journal(), interval))


class Journal:
    """What has been written about the pools of this process.

    Counters are increased by the difference since the last write, so that they continue those of an
    earlier process with the same pid, or of a pool that has been closed.
    """

    def __init__(self) -> None:
        self._gauges = [
            (one, Gauge(one.name, one.help, _labels(one), registry=None, multiprocess_mode=_SUM))
            for one in GAUGES
        ]
        self._counters = [
            (one, Counter(one.name, one.help, _labels(one), registry=None)) for one in COUNTERS
        ]
        self._histograms = [
            (one, Histogram(one.name, one.help, ("pool",), registry=None, buckets=BOUNDS))
            for one in HISTOGRAMS
        ]
        self.begin_anew()

    def begin_anew(self) -> None:
        """In a forked child, whose pools start at 0."""
        self._written: dict[str, PoolStats] = {}

    def write(self) -> None:
        pools = {pool.name: pool for pool in by_name(pool_stats())}
        for name, pool in pools.items():
            written = self._written.get(name)
            if written is None or written.connects > pool.connects:  # it has been opened again
                written = _nothing(pool)
            self._write_gauges(pool)
            self._write_counters(pool, written)
            if knows_its_queue(pool):
                self._write_histograms(pool, written)
            self._written[name] = pool
        for name in self._written.keys() - pools.keys():
            self._write_gauges(_nothing(self._written.pop(name)))

    def _write_gauges(self, pool: PoolStats) -> None:
        for one, gauge in self._gauges:
            for key, value in one.read(pool).items():
                gauge.labels(pool.name, *_own(one, key)).set(value)

    def _write_counters(self, pool: PoolStats, written: PoolStats) -> None:
        for one, counter in self._counters:
            before = one.read(written)
            for key, value in one.read(pool).items():
                more = max(0, value - before.get(key, 0))
                counter.labels(pool.name, *_own(one, key)).inc(more)

    def _write_histograms(self, pool: PoolStats, written: PoolStats) -> None:
        for one, histogram in self._histograms:
            times, before = one.read(pool), one.read(written)
            # observe() takes a single value, so the buckets and the sum are increased directly.
            kept = histogram.labels(pool.name)
            for bucket, count, known in zip(
                kept._buckets, times.counts, before.counts, strict=True
            ):
                bucket.inc(count - known)
            kept._sum.inc(times.total - before.total)


_SUM: Final = "livesum"
"""The sum over running processes."""


def _labels(number: Number) -> tuple[str, ...]:
    return ("pool", number.label) if number.label else ("pool",)


def _own(number: Number, key: str) -> tuple[str, ...]:
    return (key,) if number.label else ()


def _nothing(pool: PoolStats) -> PoolStats:
    """The statistics of *pool* before it did anything."""
    cap = None if pool.cap is None else 0
    return PoolStats(pool.name, pool.poolclass, cap, total=0, peak=0, connects=0)


class Writer:
    """The thread that writes, started again in each forked child."""

    def __init__(self, journal: Journal, interval: float) -> None:
        self._journal = journal
        self._interval = interval
        self._lock = threading.Lock()
        self._start()
        atexit.register(self._write)
        # No fork during a write, or the child would inherit prometheus_client's lock in locked
        # state.
        os.register_at_fork(
            before=self._lock.acquire,
            after_in_parent=self._lock.release,
            after_in_child=self._start_in_child,
        )

    def _start(self) -> None:
        threading.Thread(target=self._run, name="pooldaemon-metrics", daemon=True).start()

    def _start_in_child(self) -> None:
        self._journal.begin_anew()
        self._lock.release()
        self._start()

    def _run(self) -> None:
        while True:
            time.sleep(self._interval)
            self._write()

    def _write(self) -> None:
        try:
            with self._lock:
                self._journal.write()
        except Exception:
            logger.exception("Can't write the metrics of the pools")


_writers: list[Writer] = []
"""Empty, or the one writer of this process."""
