"""The pools of a process, as Prometheus scrapes them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from prometheus_client import CollectorRegistry, generate_latest

from pooldaemon import close_pool, pool_stats
from pooldaemon.metrics.prometheus import register
from tests.support.scrape import Scrape
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE, Task

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    register(registry)
    return registry


def scrape(registry: CollectorRegistry) -> Scrape:
    return Scrape(generate_latest(registry).decode())


def name_of_only_pool() -> str:
    (pool,) = pool_stats()
    return pool.name


@pytest.fixture
def borrowed(add_sqlite: AddDatabase) -> Iterator[str]:
    alias = add_sqlite(pool_size=3, timeout=DEADLINE)
    connections[alias].ensure_connection()
    yield alias
    connections[alias].close()


def test_a_scrape_says_what_the_pool_does(registry: CollectorRegistry, borrowed: str) -> None:
    def borrow_and_return() -> None:
        connections[borrowed].ensure_connection()
        connections[borrowed].close()

    Task(borrow_and_return).result()
    metrics, pool = scrape(registry), name_of_only_pool()
    assert metrics("pooldaemon_pool_sessions", pool=pool) == 2
    assert metrics("pooldaemon_pool_connections", pool=pool, state="used") == 1
    assert metrics("pooldaemon_pool_connections", pool=pool, state="idle") == 1
    assert metrics("pooldaemon_pool_max_connections", pool=pool) == 3
    assert metrics("pooldaemon_pool_waiting_threads", pool=pool) == 0
    assert metrics("pooldaemon_pool_paused", pool=pool) == 0
    assert metrics("pooldaemon_pool_connects_total", pool=pool) == 2
    assert metrics("pooldaemon_pool_timeouts_total", pool=pool) == 0


def test_histograms_are_the_pools_own(registry: CollectorRegistry, borrowed: str) -> None:
    connections[borrowed].close()
    metrics, (pool,) = scrape(registry), pool_stats()
    for name, times in (("wait", pool.wait), ("use", pool.use), ("connect", pool.connect)):
        metric = f"pooldaemon_pool_{name}_seconds"
        assert metrics(f"{metric}_count") == times.count == 1
        assert metrics(f"{metric}_sum") == times.total
        assert metrics(f"{metric}_bucket", le="+Inf") == 1
        buckets = metrics.samples(f"{metric}_bucket")
        assert buckets == sorted(buckets)


def test_a_pause_shows(registry: CollectorRegistry, borrowed: str) -> None:
    connections[borrowed].pool.pause()  # type: ignore[attr-defined]
    try:
        assert scrape(registry)("pooldaemon_pool_paused") == 1
    finally:
        connections[borrowed].pool.resume()  # type: ignore[attr-defined]


def test_discards_have_their_reason(registry: CollectorRegistry, borrowed: str) -> None:
    close_pool()
    ((reason, count),) = pool_stats()[0].discards.items()
    assert scrape(registry)("pooldaemon_pool_discards_total", reason=reason) == count == 1


def test_pools_of_one_name_are_one_series(
    registry: CollectorRegistry, add_sqlite: AddDatabase
) -> None:
    aliases = [add_sqlite(pool_size=size) for size in (1, 2)]
    for alias in aliases:
        connections[alias].ensure_connection()
    assert len({pool.name for pool in pool_stats()}) == 1
    assert len(pool_stats()) == 2
    metrics = scrape(registry)
    assert metrics("pooldaemon_pool_max_connections") == 3
    assert metrics("pooldaemon_pool_connections", state="used") == 2
    assert metrics("pooldaemon_pool_connect_seconds_count") == 2


def test_of_sqlalchemys_own_pools_nothing_is_exported_that_they_do_not_know(
    registry: CollectorRegistry, add_sqlite: AddDatabase
) -> None:
    alias = add_sqlite(poolclass="QueuePool")
    connections[alias].ensure_connection()
    metrics = scrape(registry)
    assert metrics("pooldaemon_pool_sessions") == metrics("pooldaemon_pool_connects_total") == 1
    assert metrics.names == {"pooldaemon_pool_sessions", "pooldaemon_pool_connects_total"}


def test_registering_twice_is_refused(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        register(registry)


def test_registering_asks_no_pool(borrowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    monkeypatch.setattr("pooldaemon.metrics.prometheus.pool_stats", lambda: asked.append(None))
    register(CollectorRegistry())
    assert asked == []


def run_python(program: str) -> "subprocess.CompletedProcess[str]":
    """In a process of its own, in which nothing is imported yet."""
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("prometheus", "prometheus_client", "prometheus"),
        ("multiprocess", "prometheus_client", "prometheus"),
        ("opentelemetry", "opentelemetry", "opentelemetry"),
    ],
)
def test_without_its_package_it_says_which_extra_to_install(
    module: str, package: str, extra: str
) -> None:
    ran = run_python(
        f"import sys; sys.modules[{package!r}] = None; import pooldaemon.metrics.{module}"
    )
    *_, last = ran.stderr.splitlines()
    assert "ImproperlyConfigured: pooldaemon.metrics." in last
    assert f"pip install 'pooldaemon[{extra}]'" in last


def test_nothing_of_it_is_imported_unless_asked_for() -> None:
    ran = run_python(
        "import sys, django; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['pooldaemon']); django.setup();"
        "import pooldaemon.management.base, pooldaemon.backends.sqlite3.base;"
        "found = [m for m in sys.modules if m.partition('.')[0] in"
        " ('prometheus_client', 'opentelemetry') or m.startswith('pooldaemon.metrics')];"
        "sys.exit(', '.join(found) or 0)"
    )
    assert (ran.returncode, ran.stderr) == (0, "")
