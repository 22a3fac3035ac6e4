"""The clock that stands still while the process does."""

from pooldaemon.workers.process.clock import LATE, RunningClock


class Source:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[Source, RunningClock]:
    source = Source()
    return source, RunningClock(source)


def run_rounds(source: Source, clock: RunningClock, *lasting: float, pause: float = 1.0) -> float:
    """Rounds of a main loop that waits for `pause` each time; returns the time after them."""
    for seconds in lasting:
        clock.look()
        clock.wait(pause)
        source.now += seconds
    return clock.look()


def test_a_loop_that_is_in_time_or_a_little_late_has_an_ordinary_clock() -> None:
    source, clock = make()
    now = run_rounds(source, clock, 1.0, 0.0, 0.2, 1.0 + LATE, 1.1)
    assert now == source.now
    assert clock.lost == 0


def test_a_suspended_process_has_lost_nothing_but_the_wait_that_it_wanted() -> None:
    source, clock = make()
    began = clock.look()
    assert run_rounds(source, clock, 1.0, 35.0, 1.0) - began == 3.0
    assert clock.lost == 34.0


def test_several_suspensions_add_up_and_it_may_be_read_in_between() -> None:
    source, clock = make()
    run_rounds(source, clock, 600.0, 0.5, 20.0)
    clock.wait(5.0)
    source.now += 4.0
    assert clock() == source.now - clock.lost == 1000.0 + 1.0 + 0.5 + 1.0 + 4.0


def test_a_round_that_holds_up_the_loop_is_not_held_against_anybody() -> None:
    source, clock = make()
    began = clock.look()
    source.now += 10.0  # a hook, in the middle of the round
    clock.wait(1.0)
    source.now += 0.1
    assert clock.look() - began == 1.0


def test_a_busy_loop_does_not_stop_the_clock() -> None:
    source, clock = make()
    began = clock.look()
    # Each round takes its time, and there is something to do at once.
    assert run_rounds(source, clock, *[0.5] * 10) - began == 5.0


def test_it_is_continued_by_a_successor() -> None:
    source, clock = make()
    run_rounds(source, clock, 100.0)
    assert RunningClock(source, lost=clock.lost)() == clock()
