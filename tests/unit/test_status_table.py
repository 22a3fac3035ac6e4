"""The table of the action ``status``: progress and durations."""

import pytest

from pooldaemon.console.words import duration
from pooldaemon.management.table import progress


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [
        (30, 120, "[#####...............]  25%  30 of 120"),
        (120, 120, "[####################] 100%  120 of 120"),
        (130, 120, "[####################] 100%  130 of 120"),
        (7.5, None, "7.5"),
        (0, 0, "0"),
    ],
)
def test_progress_is_shown_as_a_bar_where_the_total_is_known(
    done: float, total: float | None, shown: str
) -> None:
    assert progress(done, total, bar=True) == shown
    assert progress(done, total, bar=False) == shown.rpartition("] ")[2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.54, "2.5 s"), (200, "3 min"), (7500, "2 h 5 min"), (3 * 86400 + 4 * 3600, "3 d 4 h")],
)
def test_durations_are_shown_in_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text
