"""The context of a unit of work: its name, whether to stop, and its progress."""

import threading
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from pooldaemon.workers.worker.context import PROGRESS_INTERVAL, WorkContext


def test_a_context_has_a_name_and_says_whether_to_stop() -> None:
    stop = threading.Event()
    ctx = WorkContext("worker-1/thread-3", stop)
    assert ctx.name == "worker-1/thread-3"
    assert not ctx.stopping
    assert ctx.wait(0) is False
    stop.set()
    assert ctx.stopping
    assert ctx.wait(60) is True


def test_progress_is_passed_on_now_and_then_and_ends_with_the_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    reported: list[Any] = []
    ctx = WorkContext(
        "worker-1/thread-1", threading.Event(), lambda *args: reported.append(args[1:])
    )
    ctx.end_unit()
    assert reported == [], "it had reported nothing"
    for done in range(10):
        ctx.progress(done, 10)
    now += PROGRESS_INTERVAL
    ctx.progress(10)
    ctx.end_unit()
    ctx.end_unit()
    assert reported == [(0, 10), (10, None), (None, None)]
    ctx.progress(1)
    assert reported[-1] == (1, None)


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        ((3, 10), (3, 10)),
        ((Decimal("0.5"), Fraction(3, 2)), (0.5, 1.5)),
        ((1, float("nan")), (1, None)),
        ((1, float("inf")), (1, None)),
        ((2**100, 10**5000), (2.0**100, None)),
        ((float("nan"), 10), None),
        ((float("-inf"), None), None),
    ],
)
def test_progress_that_is_reported_is_json(
    given: tuple[Any, Any], passed_on: tuple[float, float | None] | None
) -> None:
    seen: list[Any] = []
    ctx = WorkContext("thread", threading.Event(), lambda *progress: seen.append(progress))
    ctx.progress(*given)
    assert seen == ([] if passed_on is None else [("thread", *passed_on)])


@pytest.mark.parametrize("given", [("many", 10), (1, "ten"), (None, 10), (1, 1j)])
def test_progress_that_is_no_number_is_a_mistake(given: tuple[Any, Any]) -> None:
    ctx = WorkContext("thread", threading.Event())
    with pytest.raises(TypeError, match=r"progress\(\) takes numbers, not"):
        ctx.progress(*given)
