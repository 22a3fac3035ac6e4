"""Prometheus, several processes behind one address: gunicorn, uWSGI, pools of processes.

``prometheus_client`` has them write into files of a directory that they share
(``PROMETHEUS_MULTIPROC_DIR``), and whichever is asked sums them up. A collector that reads the
pools when it is asked would tell of one process only. So each process writes down every few
seconds what its pools have done since.

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
"""Seconds between two looks. Prometheus itself usually looks every 15 to 60."""


def publish(interval: float = INTERVAL) -> None:
    """Let the directory know of the pools of this process, and of each one forked from it.

    By a thread that writes every *interval* seconds, and once more when the process ends. A second
    call changes nothing. Fork-safe; a daemon's supervisor, which must have no thread, is the wrong
    place.

    :raises django.core.exceptions.ImproperlyConfigured: ``PROMETHEUS_MULTIPROC_DIR`` was not set
        when ``prometheus_client`` was imported.
    """
    if not ValueClass._multiprocess:
        raise ImproperlyConfigured(
            "PROMETHEUS_MULTIPROC_DIR is not set: name, in the environment of the server, a "
            "directory that its processes share and that is empty when it starts. One process "
            "needs pooldaemon.metrics.prometheus.register() instead."
        )
    if not _writers:
        _writers.append(Writer(Journal(), interval))


class Journal:
    """What the directory has been told of the pools of this process.

    The numbers are told as what has been added, so that they go on where another process with the
    same pid, or a pool that was opened anew, had left off.
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
        """In a forked child: its pools have done nothing yet."""
        self._told: dict[str, PoolStats] = {}

    def write(self) -> None:
        pools = {pool.name: pool for pool in by_name(pool_stats())}
        for name, pool in pools.items():
            told = self._told.get(name)
            if told is None or told.connects > pool.connects:  # opened anew
                told = _nothing(pool)
            self._write_gauges(pool)
            self._write_counters(pool, told)
            if knows_its_queue(pool):
                self._write_histograms(pool, told)
            self._told[name] = pool
        for name in self._told.keys() - pools.keys():
            self._write_gauges(_nothing(self._told.pop(name)))

    def _write_gauges(self, pool: PoolStats) -> None:
        for one, gauge in self._gauges:
            for key, value in one.read(pool).items():
                gauge.labels(pool.name, *_own(one, key)).set(value)

    def _write_counters(self, pool: PoolStats, told: PoolStats) -> None:
        for one, counter in self._counters:
            before = one.read(told)
            for key, value in one.read(pool).items():
                more = max(0, value - before.get(key, 0))
                counter.labels(pool.name, *_own(one, key)).inc(more)

    def _write_histograms(self, pool: PoolStats, told: PoolStats) -> None:
        for one, histogram in self._histograms:
            times, before = one.read(pool), one.read(told)
            # observe() takes one value; the files hold what each bucket and the sum are made of.
            kept = histogram.labels(pool.name)
            for bucket, count, known in zip(
                kept._buckets, times.counts, before.counts, strict=True
            ):
                bucket.inc(count - known)
            kept._sum.inc(times.total - before.total)


_SUM: Final = "livesum"
"""Of the processes that live."""


def _labels(number: Number) -> tuple[str, ...]:
    return ("pool", number.label) if number.label else ("pool",)


def _own(number: Number, key: str) -> tuple[str, ...]:
    return (key,) if number.label else ()


def _nothing(pool: PoolStats) -> PoolStats:
    """The same, before it has done anything."""
    cap = None if pool.cap is None else 0
    return PoolStats(pool.name, pool.poolclass, cap, total=0, peak=0, connects=0)


class Writer:
    """The thread, and its part in forks."""

    def __init__(self, journal: Journal, interval: float) -> None:
        self._journal = journal
        self._interval = interval
        self._lock = threading.Lock()
        self._start()
        atexit.register(self._write)
        # No fork in the middle of a write: it would also find the client's own lock held.
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
            logger.exception("The pools' metrics could not be written down")


_writers: list[Writer] = []
"""One, once there is one."""
