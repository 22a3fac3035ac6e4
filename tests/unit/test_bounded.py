"""A hook in the main loop's place: interrupted once a second, and ended at its time."""

import signal
import time

import pytest

from pooldaemon.workers.process import bounded as module
from pooldaemon.workers.process.bounded import HookTimeoutError, bounded
from pooldaemon.workers.process.clock import RunningClock


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.02)


class EndedError(BaseException):
    pass


def wait(seconds: float = 10.0) -> None:
    """As a hook does that loads something; deaf to errors."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            time.sleep(0.005)
        except ValueError:
            continue


def test_a_hook_is_looked_after_and_ends_when_it_likes() -> None:
    looks: list[float] = []

    def look() -> None:
        looks.append(time.monotonic())

    with bounded("setup()", 10.0, look):
        while len(looks) < 3:
            wait(0.01)
    _, interval = signal.getitimer(signal.ITIMER_REAL)  # another timer, if there is one, does once
    assert interval == 0.0, "the timer goes on"


def test_a_hook_that_takes_too_long_gets_an_exception_where_it_is() -> None:
    with (
        pytest.raises(HookTimeoutError, match=r"^setup\(\) has taken longer than 0\.1 s$"),
        bounded("setup()", 0.1, lambda: None),
    ):
        wait()


def test_what_the_look_raises_is_raised_in_the_hook_until_it_ends() -> None:
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        raise ValueError if looks < 3 else EndedError

    with pytest.raises(EndedError), bounded("setup()", 10.0, look):
        wait()
    assert looks == 3


def test_the_time_for_which_the_process_was_suspended_does_not_count() -> None:
    jumps = iter([0.0, 0.0, 1000.0])
    passed = 0.0

    def source() -> float:
        return time.monotonic() + passed

    def look() -> None:
        nonlocal passed
        passed += next(jumps, 0.0)

    began = time.monotonic()
    with pytest.raises(HookTimeoutError), bounded("setup()", 0.5, look, RunningClock(source)):
        wait()
    assert time.monotonic() - began >= 0.3


def test_an_earlier_handler_and_its_timer_are_put_back() -> None:
    # pytest's own, which ends a test that hangs.
    handler, (left, _) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    with bounded("setup()", 10.0, lambda: None):
        assert signal.getsignal(signal.SIGALRM) is not handler
    assert signal.getsignal(signal.SIGALRM) is handler
    assert left - 1 < signal.getitimer(signal.ITIMER_REAL)[0] <= left
