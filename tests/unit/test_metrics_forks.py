"""A forked child exports what its own pools have done, and nothing of its parent's."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import json, os, sys
import django
from django.conf import settings

database = {"ENGINE": "pooldaemon.backends.sqlite3", "NAME": sys.argv[1]}
settings.configure(INSTALLED_APPS=["pooldaemon"], DATABASES={"default": database})
django.setup()

from django.db import connection
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from prometheus_client import CollectorRegistry
from pooldaemon.metrics import opentelemetry, prometheus

delta = {Histogram: AggregationTemporality.DELTA}
readers = [InMemoryMetricReader(), InMemoryMetricReader(preferred_temporality=delta)]
opentelemetry.instrument(MeterProvider(readers, shutdown_on_exit=False))
registry = CollectorRegistry()
prometheus.register(registry)

def borrow(times):
    for _ in range(times):
        connection.ensure_connection()
        connection.close()

def exported(reader):
    metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    (metric,) = (m for m in metrics if m.name == "db.client.connection.use_time")
    return metric.data.data_points[0].count

def borrows():
    pool = {"pool": "sqlite " + sys.argv[1]}
    return [
        *map(exported, readers),
        registry.get_sample_value("pooldaemon_pool_use_seconds_count", pool),
    ]

borrow(3)
counts = [borrows()]
read_end, write_end = os.pipe()
if os.fork() == 0:
    borrow(2)
    os.write(write_end, json.dumps(borrows()).encode())
    os._exit(0)
os.wait()
counts.append(json.loads(os.read(read_end, 1000)))
borrow(1)
counts.append(borrows())
print(json.dumps(counts))
"""


def test_parent_and_child_count_their_own_borrows(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / "fork.sqlite3")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    # Cumulative, by deltas, and Prometheus'.
    before, child, after = json.loads(ran.stdout)
    assert before == [3, 3, 3]
    assert child == [2, 2, 2]
    assert after == [4, 1, 4]
