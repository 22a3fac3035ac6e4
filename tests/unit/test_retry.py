"""Retries of a unit of work that has failed because of a lock."""

import threading

import pytest
from django.db import OperationalError

from pooldaemon.workers.worker.context import WorkContext
from pooldaemon.workers.worker.retry import with_retries


class Unit:
    """Fails with these errors, one after the other, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.tries = 0

    def __call__(self, ctx: WorkContext) -> str:
        self.tries += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


DEADLOCK = OperationalError(1213, "Deadlock found when trying to get lock")
LOCK_WAIT = OperationalError(1205, "Lock wait timeout exceeded")


@pytest.fixture
def ctx(monkeypatch: pytest.MonkeyPatch) -> WorkContext:
    """One that does not wait."""
    monkeypatch.setattr(WorkContext, "wait", lambda self, seconds: self.stopping)
    return WorkContext("worker-1/thread-1", threading.Event())


def test_a_unit_that_met_a_lock_is_tried_again(ctx: WorkContext) -> None:
    unit = Unit(DEADLOCK, LOCK_WAIT)
    assert with_retries(unit, 2)(ctx) == "done"
    assert unit.tries == 3


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_after_so_many_further_tries_the_error_stands(ctx: WorkContext, retries: int) -> None:
    unit = Unit(*[DEADLOCK] * 10)
    with pytest.raises(OperationalError, match="Deadlock"):
        with_retries(unit, retries)(ctx)
    assert unit.tries == retries + 1


@pytest.mark.parametrize(
    "error", [OperationalError(2006, "gone away"), OperationalError("text"), ValueError(1213)]
)
def test_other_errors_are_not_tried_again(ctx: WorkContext, error: Exception) -> None:
    unit = Unit(error)
    with pytest.raises(type(error)):
        with_retries(unit, 5)(ctx)
    assert unit.tries == 1


def test_a_worker_that_drains_tries_nothing_again() -> None:
    stop = threading.Event()
    stop.set()
    unit = Unit(DEADLOCK)
    with pytest.raises(OperationalError):
        with_retries(unit, 5)(WorkContext("worker-1/thread-1", stop))
    assert unit.tries == 1
