"""What a supervisor does in each round: one failure stops nothing else, and is logged once."""

import errno
import logging
import os

import pytest

from pooldaemon.workers.supervisor.duties import DELAYS, Duties


class Flaky:
    """Fails with these errors, one after the other, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.tries = 0

    def __call__(self) -> None:
        self.tries += 1
        if self._errors:
            raise self._errors.pop(0)


def error_of(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_a_failure_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    duties, fork = Duties(), Flaky(*[error_of(errno.EAGAIN)] * 3)
    with caplog.at_level(logging.INFO):
        for now in range(6):
            duties.every_time("start workers", fork, now)
    assert fork.tries == 6
    first, last = [record.getMessage() for record in caplog.records]
    assert first.startswith("The supervisor can't start workers: BlockingIOError: [Errno 11] ")
    assert last == "The supervisor can start workers again, after 3.0 s"
    assert all(record.exc_info is None for record in caplog.records)


def test_another_error_is_news_and_a_mistake_has_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    duties = Duties()
    duty = Flaky(error_of(errno.EMFILE), error_of(errno.ENOMEM), LookupError("a mistake"))
    for now in range(3):
        assert duties.every_time("listen", duty, now) is not None
    assert [bool(record.exc_info) for record in caplog.records] == [False, False, True]


def test_what_can_wait_is_tried_again_after_growing_delays() -> None:
    duties, duty = Duties(), Flaky(*[error_of(errno.ENOSPC)] * 1000)
    for tenth in range(1000):
        duties.with_backoff("write", duty, tenth / 10)
    # A delay is shortened by up to half.
    assert 100 / DELAYS[1] <= duty.tries <= 20
    assert duties.is_put_off("write", 99.9)


def test_what_fails_is_described_until_it_succeeds() -> None:
    duties, duty = Duties(), Flaky(error_of(errno.ENOSPC), error_of(errno.ENOSPC))
    duties.every_time("write", duty, 10.0)
    duties.every_time("write", duty, 12.0)
    assert duties.failed
    assert duties.describe(13.0) == [
        {"what": "write", "error": f"OSError: {error_of(errno.ENOSPC)}", "for": 3.0, "times": 2}
    ]
    assert duties.every_time("write", duty, 14.0) is None
    assert duties.describe(15.0) == []


def test_what_must_not_wait_for_long_is_tried_again_soon() -> None:
    duties, duty = Duties(), Flaky(*[error_of(errno.ENFILE)] * 1000)
    for now in range(100):
        duties.with_backoff("answer", duty, now, 1.0)
    assert duty.tries == 100
