"""The metrics of a daemon, made from the answer of its control socket."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

from prometheus_client import CollectorRegistry, generate_latest

from pooldaemon.metrics.daemon import DaemonCollector
from pooldaemon.stats import BOUNDS
from tests.support.scrape import Scrape

POOL = "mysql app@host/db"


def times(*counts: int) -> dict[str, Any]:
    return {"counts": [*counts, *[0] * (len(BOUNDS) + 1 - len(counts))], "total": 0.5}


def pool(**values: Any) -> dict[str, Any]:
    fields = {
        "name": POOL,
        "alias": "default",
        "poolclass": "FairQueuePool",
        "cap": 4,
        "total": 3,
        "peak": 3,
        "in_use": 2,
        "idle": 1,
        "waiting": 5,
        "paused": False,
        "timeouts": 6,
        "rejected": 7,
        "connects": 8,
        "connect_errors": 9,
        "resets": 10,
        "discards": {"dead": 11},
        "wait": times(1, 2),
        "use": times(3),
        "connect": times(8),
        "holders": [{"thread": "worker-1/thread-1", "seconds": 1.0, "place": "shop.py:1 in f"}],
    }
    return fields | values


def worker(name: str, **values: Any) -> dict[str, Any]:
    fields = {
        "name": name,
        "state": "ready",
        "silent": 0.5,
        "busy": 1,
        "longest": [f"{name}/thread-1", 3.5],
        "rss": 2**20,
        "restarts": 2,
        "pools": [pool()],
    }
    return fields | values


def daemon(*workers: dict[str, Any]) -> dict[str, Any]:
    return {
        "uptime": 12.5,
        "ready": True,
        "processes": 2,
        "units": 100,
        "failures": 3,
        "restarts": 4,
        "workers": [*workers],
        "reload": {"number": 1, "state": "done", "reason": None},
    }


def scrape(answer: dict[str, Any]) -> Scrape:
    """The metrics of a daemon that answers so."""
    registry = CollectorRegistry()
    with patch("pooldaemon.metrics.daemon.ask", lambda path, command: answer):
        registry.register(DaemonCollector(Path("work.pid.sock"), "work"))
        return Scrape(generate_latest(registry).decode())


def test_what_holds_for_the_daemon_is_exported_once() -> None:
    metrics = scrape(daemon(worker("worker-1"), worker("worker-2", state="draining")))
    assert metrics("pooldaemon_up", daemon="work") == 1
    assert metrics("pooldaemon_uptime_seconds", daemon="work") == 12.5
    assert metrics("pooldaemon_ready") == 1
    assert metrics("pooldaemon_processes") == 2
    assert metrics("pooldaemon_units_total", daemon="work") == 100
    assert metrics("pooldaemon_unit_failures_total") == 3
    assert metrics("pooldaemon_restarts_total") == 4
    assert metrics("pooldaemon_reloads_total") == 1
    assert metrics("pooldaemon_last_reload_successful") == 1
    assert metrics("pooldaemon_workers", state="ready") == 1
    assert metrics("pooldaemon_workers", state="draining") == 1


def test_each_worker_has_series_of_its_own() -> None:
    metrics = scrape(daemon(worker("worker-1"), worker("worker-2", busy=0, longest=None)))
    assert metrics("pooldaemon_worker_busy_threads", worker="worker-1") == 1
    assert metrics("pooldaemon_worker_longest_unit_seconds", worker="worker-1") == 3.5
    assert metrics("pooldaemon_worker_longest_unit_seconds", worker="worker-2") == 0
    assert metrics("pooldaemon_worker_resident_memory_bytes", worker="worker-1") == 2**20
    assert metrics("pooldaemon_worker_silent_seconds", worker="worker-1") == 0.5
    assert metrics("pooldaemon_worker_restarts_total", worker="worker-2") == 2


def test_so_have_a_workers_pools() -> None:
    metrics = scrape(daemon(worker("worker-1"), worker("worker-2", pools=[pool(in_use=4, idle=0)])))
    of_one = {"daemon": "work", "worker": "worker-1", "pool": POOL}
    assert metrics("pooldaemon_pool_connections", **of_one, state="used") == 2
    assert metrics("pooldaemon_pool_connections", worker="worker-2", state="used") == 4
    assert metrics("pooldaemon_pool_waiting_threads", **of_one) == 5
    assert metrics("pooldaemon_pool_timeouts_total", **of_one) == 6
    assert metrics("pooldaemon_pool_rejections_total", **of_one) == 7
    assert metrics("pooldaemon_pool_discards_total", **of_one, reason="dead") == 11
    assert metrics("pooldaemon_pool_wait_seconds_bucket", **of_one, le="0.005") == 3
    assert metrics("pooldaemon_pool_wait_seconds_sum", **of_one) == 0.5


def test_a_worker_that_has_not_reported_yet_has_no_pools() -> None:
    metrics = scrape(daemon(worker("worker-1", state="booting", pools=[])))
    assert not metrics.samples("pooldaemon_pool_sessions")
    assert metrics("pooldaemon_workers", state="booting") == 1


def test_a_field_that_is_not_known_here_is_passed_over() -> None:
    metrics = scrape(daemon(worker("worker-1", pools=[pool(colour="red")])))
    assert metrics("pooldaemon_pool_sessions") == 3


def test_a_daemon_that_is_gone_is_down(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(DaemonCollector(tmp_path / "gone.sock", "work"))
    metrics = Scrape(generate_latest(registry).decode())
    assert metrics("pooldaemon_up", daemon="work") == 0
    assert metrics.names == {"pooldaemon_up"}
