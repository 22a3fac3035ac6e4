"""When a worker counts as idle, and the numbers of its units and failures."""

import pytest

from pooldaemon.workers.worker.activity import Activity


class Calls:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def test_a_worker_is_idle_when_each_of_its_threads_found_nothing() -> None:
    on_change = Calls()
    activity = Activity(2, on_change)
    assert not activity.idle
    activity.nothing("a", activity.look("a"))
    activity.nothing("a", activity.look("a"))
    assert not activity.idle, "the same thread twice"
    activity.nothing("b", activity.look("b"))
    assert activity.idle
    assert on_change.times == 1


@pytest.mark.parametrize("event", ["worked", "waiting"])
def test_a_new_look_ends_idleness_and_is_reported_once(event: str) -> None:
    on_change = Calls()
    activity = Activity(1, on_change)
    activity.nothing("a", activity.look("a"))
    activity.look("a")
    assert not activity.idle, "it may find work and make more"
    assert on_change.times == 2
    getattr(activity, event)()
    assert not activity.idle
    assert on_change.times == 2, "busy already"


@pytest.mark.parametrize("event", ["worked", "waiting"])
def test_a_look_that_began_before_the_last_work_does_not_count(event: str) -> None:
    activity = Activity(1, Calls())
    looked = activity.look("a")
    getattr(activity, event)()
    activity.nothing("a", looked)
    assert not activity.idle
    activity.nothing("a", activity.look("a"))
    assert activity.idle


def test_units_and_failures_are_counted_and_looks_are_not() -> None:
    activity = Activity(1, Calls())
    activity.worked()
    activity.worked(failed=True)
    activity.waiting()
    activity.nothing("a", activity.look("a"))
    assert (activity.units, activity.failures) == (2, 1)
