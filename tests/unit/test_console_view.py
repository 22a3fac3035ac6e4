"""What is made of a daemon's answers over time."""

import math

import pytest

from pooldaemon.console.view import PATIENCE, WINDOW, DaemonView, Health, History, Holder, Unit
from pooldaemon.stats import Histogram
from tests.unit.statuses import Status, daemon, pool, waits, worker


def view(*samples: Status) -> DaemonView:
    """One sample a second."""
    history = History("shop")
    for second, status in enumerate(samples):
        history.answered(status, float(second))
    return history.view(len(samples) - 1.0)


def test_units_per_second_are_those_of_the_time_between_the_samples() -> None:
    seen = view(
        daemon(worker(1, units=10), worker(2, units=0), units=10),
        daemon(worker(1, units=16), worker(2, units=4), units=20),
        daemon(worker(1, units=20), worker(2, units=6), units=26),
    )
    assert seen.rate == 8.0
    assert [one.rate for one in seen.workers] == [5.0, 3.0]
    assert seen.window == 2.0


def test_one_sample_alone_has_no_rate_and_all_waits() -> None:
    seen = view(daemon(worker(1, pool(wait=waits(7, 3)), units=10), units=10))
    assert seen.rate is None
    assert seen.workers[0].rate is None
    assert seen.window == 0.0
    assert seen.pools[0].wait.count == 10


def test_waits_are_those_since_the_window_began() -> None:
    seen = view(
        daemon(worker(1, pool(wait=waits(90, 0, 0, 10)))),
        daemon(worker(1, pool(wait=waits(99, 0, 1, 10)))),
    )
    assert seen.pools[0].wait.counts[:4] == (9, 0, 1, 0)
    assert seen.pools[0].wait.quantile(0.5) == 0.001
    assert seen.pools[0].wait.quantile(0.95) == 0.01


def test_the_window_moves() -> None:
    samples = [daemon(worker(1, units=10 * n), units=10 * n) for n in range(20)]
    assert view(*samples).window == WINDOW
    assert view(*samples).rate == 10.0


def test_seldom_samples_are_compared_with_the_one_before() -> None:
    history = History("shop")
    for number in range(3):
        history.answered(daemon(worker(1), units=60 * number), 60.0 * number)
    assert history.view(120.0).window == 60.0
    assert history.view(120.0).rate == 1.0


def test_a_replaced_worker_counts_from_its_beginning() -> None:
    seen = view(
        daemon(worker(1, pool(wait=waits(50)), units=50), units=50),
        daemon(worker(1, pool(wait=waits(4)), units=4, pid=999), units=54),
    )
    assert seen.workers[0].rate == 4.0
    assert seen.rate == 4.0
    assert seen.pools[0].wait.count == 4


def test_a_pool_that_was_opened_anew_counts_from_its_beginning() -> None:
    seen = view(
        daemon(worker(1, pool(wait=waits(50, 3)))),
        daemon(worker(1, pool(wait=waits(60, 1)))),
    )
    assert seen.pools[0].wait.count == 61


def test_another_daemon_of_the_name_is_not_compared_with_the_last() -> None:
    seen = view(daemon(worker(1), units=500), daemon(worker(1), units=3, pid=200))
    assert seen.rate is None


def test_the_pools_of_one_name_are_added_up() -> None:
    seen = view(
        daemon(
            worker(1, pool(in_use=3, idle=1, waiting=2, discards={"dead": 1}), pool("replica")),
            worker(2, pool(in_use=1, idle=2, paused=True, discards={"dead": 1, "reset": 2})),
        )
    )
    assert [one.alias for one in seen.pools] == ["default", "replica"]
    both = seen.pools[0]
    assert (both.cap, both.in_use, both.idle, both.waiting) == (8, 4, 3, 2)
    assert (both.processes, both.paused) == (2, 1)
    assert both.discards == {"dead": 2, "reset": 2}
    assert (seen.workers[0].in_use, seen.workers[0].cap, seen.workers[0].waiting) == (3, 8, 2)


def test_pools_of_one_name_with_other_settings_are_shown_apart() -> None:
    one, other = pool(cap=2), pool(alias="jobs", name="mysql shop@db/default", cap=7)
    assert [p.cap for p in view(daemon(worker(1, one, other))).pools] == [2, 7]


def test_a_pool_without_a_limit_has_none_in_sum() -> None:
    seen = view(daemon(worker(1, pool(cap=None)), worker(2, pool(cap=4))))
    assert seen.pools[0].cap is None
    assert seen.workers[0].cap is None


def test_timeouts_that_grow_are_marked() -> None:
    before, now = pool(timeouts=3, rejected=1), pool(timeouts=4, rejected=1)
    seen = view(daemon(worker(1, before)), daemon(worker(1, now)))
    assert seen.pools[0].timeouts == 4
    assert seen.pools[0].grown == {"timeouts"}


def test_units_and_holders_are_listed_with_the_longest_first() -> None:
    holders = [{"thread": "worker-1/thread-2", "seconds": 0.5, "place": "a.py:1 in f"}]
    longest = [{"thread": "worker-2/thread-1", "seconds": 7.5, "place": "b.py:2 in g"}]
    running = [{"thread": "worker-1/thread-2", "seconds": 1.0, "done": 5, "total": 10}]
    other = [{"thread": "worker-2/thread-1", "seconds": 8.0, "done": None, "total": None}]
    seen = view(
        daemon(
            worker(1, pool(holders=holders), running=running),
            worker(2, pool(holders=longest), running=other),
        )
    )
    name = "mysql shop@db/default"
    assert seen.holders == (
        Holder(name, "worker-2/thread-1", 7.5, "b.py:2 in g"),
        Holder(name, "worker-1/thread-2", 0.5, "a.py:1 in f"),
    )
    assert seen.units == (
        Unit("worker-2/thread-1", 8.0),
        Unit("worker-1/thread-2", 1.0, 5, 10),
    )


def test_an_older_daemon_that_reports_no_pools_is_shown_without() -> None:
    status = daemon(worker(1))
    del status["units"], status["workers"][0]["pools"], status["workers"][0]["running"]
    seen = view(status, status)
    assert (seen.pools, seen.units, seen.rate) == ((), (), None)
    assert seen.workers[0].cap is None


def test_a_daemon_is_silent_when_it_is_late_or_refuses() -> None:
    history = History("shop")
    history.asked(1.0)
    assert history.view(1.0 + PATIENCE).health is Health.ANSWERS
    assert history.view(1.1 + PATIENCE).health is Health.SILENT
    history.answered(daemon(worker(1)), 5.0)
    assert history.view(5.0).health is Health.ANSWERS
    assert history.view(60.0).health is Health.ANSWERS  # nobody has asked since
    history.failed("timed out")
    assert (history.view(6.0).health, history.view(6.0).error) == (Health.SILENT, "timed out")
    history.answered(daemon(worker(1)), 7.0)
    assert (history.view(7.0).health, history.view(7.0).error) == (Health.ANSWERS, "")


def test_a_daemon_that_ended_keeps_its_last_answer_until_it_is_back() -> None:
    history = History("shop")
    history.answered(daemon(worker(1)), 1.0)
    history.ended()
    ended = history.view(4.0)
    assert (ended.health, ended.since, ended.status["pid"]) == (Health.ENDED, 3.0, 100)
    history.answered(daemon(worker(1), pid=200), 5.0)
    assert (history.view(5.0).health, history.view(5.0).status["pid"]) == (Health.ANSWERS, 200)


def test_nothing_that_a_terminal_obeys_is_shown() -> None:
    running = [{"thread": "x\x1b]0;title\x07", "seconds": 1.0, "done": None, "total": None}]
    seen = view(daemon(worker(1, pool(name="a\x1b[2J\nb"), running=running)))
    assert seen.units[0].thread == "x ]0;title "
    assert seen.pools[0].name == "a [2J b"


@pytest.mark.parametrize(
    ("share", "bound"), [(0.0, 0.001), (0.5, 0.001), (0.51, 0.01), (0.9, 0.01), (0.91, math.inf)]
)
def test_a_quantile_is_the_bound_of_its_bucket(share: float, bound: float) -> None:
    assert Histogram((50, 0, 40, 0, 0, 0, 0, 0, 0, 10)).quantile(share) == bound


def test_a_histogram_of_nothing_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
