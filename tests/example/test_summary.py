import io

import pytest
from django.db.models import QuerySet

from pooldaemon_example.webhooks.models import Delivery
from pooldaemon_example.webhooks.receiver import Stats
from pooldaemon_example.webhooks.trial.progress import progress
from pooldaemon_example.webhooks.trial.summary import Summary
from tests.example.conftest import MakeDelivery

Status = Delivery.Status


@pytest.fixture
def rows(make_delivery: MakeDelivery) -> QuerySet[Delivery]:
    make_delivery(status=Status.DELIVERED, attempts=1)
    make_delivery(status=Status.DELIVERED, attempts=3)
    make_delivery(status=Status.DEAD, attempts=1, error="HTTP 410: not retried")
    return Delivery.objects.all()


def summary(rows: QuerySet[Delivery], lines: int = 3, **stats: int) -> Summary:
    return Summary.of(rows, lines, Stats(**{"accepted": 2, **stats}), 2.0, ["worker-1: 3 units"])


@pytest.mark.django_db
def test_a_run_that_adds_up_has_no_faults_and_says_everything(rows: QuerySet[Delivery]) -> None:
    result = summary(rows)
    assert result.faults() == []
    text = result.text()
    for part in (
        "lines in sample   3\n",
        "delivered         2, 1 of them after a retry\n",
        "dead              1\n",
        "   1  HTTP 410: not retried\n",
        "receiver counted  2 accepted, 0 repeated\n",
        "time              2.0 s, 2 deliveries/s\n",
        "worker-1: 3 units",
    ):
        assert part in text


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"lines": 4}, "4 lines, but 2 delivered + 1 dead (0 still pending)"),
        ({"accepted": 1}, "2 delivered, but the receiver accepted 1"),
        ({"duplicates": 1}, "the receiver accepted 1 a second time"),
        ({"rejected": 5}, "the receiver refused 5 signatures"),
    ],
)
def test_a_run_that_does_not_add_up_says_where(
    rows: QuerySet[Delivery], change: dict[str, int], fault: str
) -> None:
    assert summary(rows, **change).faults() == [fault]


def test_progress_without_a_terminal_is_a_line_per_tenth() -> None:
    stream = io.StringIO()
    with progress(20, stream) as show:
        for done in (0, 1, 2, 3, 20, 20):
            show(done)
    assert stream.getvalue().splitlines() == [f"delivering: {done} of 20" for done in (0, 2, 20)]


def test_progress_on_a_terminal_is_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with progress(20, stream) as show:
        show(20)
    assert "20/20" in stream.getvalue()
