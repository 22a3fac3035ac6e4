"""The limits at which a worker is replaced."""

import pytest

from pooldaemon.conf import DaemonConfig
from pooldaemon.workers.worker.recycle import RecycleLimits


@pytest.mark.parametrize(
    ("config", "used", "reason"),
    [
        (DaemonConfig(max_units=100), (100, 0, 0.0), "100 units done"),
        (DaemonConfig(max_rss=100), (0, 100 * 2**20, 0.0), "100 MiB of memory in use"),
        (DaemonConfig(max_age=100.0), (0, 0, 100.0), "100 s old"),
    ],
    ids=["units", "memory", "age"],
)
def test_a_worker_is_replaced_at_a_limit_or_up_to_a_tenth_before(
    config: DaemonConfig, used: tuple[int, int, float], reason: str
) -> None:
    for _ in range(20):
        assert RecycleLimits(config, started=0.0).exceeded(*used) == reason
        early = [amount * 0.89 for amount in used]
        assert RecycleLimits(config, started=0.0).exceeded(*early) is None


def test_workers_that_started_together_do_not_leave_together() -> None:
    config = DaemonConfig(max_units=1000)
    over = [RecycleLimits(config, started=0.0).exceeded(950, 0, 0.0) for _ in range(100)]
    assert None in over
    assert "950 units done" in over


def test_without_limits_a_life_is_never_over() -> None:
    assert RecycleLimits(DaemonConfig(), started=0.0).exceeded(10**9, 2**50, 1e9) is None
