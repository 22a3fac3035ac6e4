import datetime
import logging
import threading
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.db.models.functions import Now

from pooldaemon.connections import pool_stats
from pooldaemon.dashboard import publishing
from pooldaemon.dashboard.models import Order, Snapshot
from pooldaemon.dashboard.publishing import COMMAND_LIFETIME, KEPT, publish, publish_daemon
from pooldaemon.tenants import use_database
from tests.dashboard import canned

# Published on a connection of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

Asked = list[tuple[str, Any]]


def recorder(asked: Asked) -> publishing.CarryOut:
    def carry_out(command: str, values: Any) -> dict[str, Any]:
        asked.append((command, values))
        return {"ok": True}

    return carry_out


def ago(duration: datetime.timedelta) -> Any:
    return Now() - duration


def test_a_process_has_one_row_whatever_it_tells() -> None:
    for units in (1, 2):
        publish("deliver", canned.status(units=units))
    publish("deliver", canned.status(pid=5))
    assert [row.data["units"] for row in Snapshot.objects.order_by("pk")] == [2, 24690]


def test_options_stay_with_the_daemon() -> None:
    publish_daemon(None, canned.status(options={"pidfile": {"value": "x"}}))
    row = Snapshot.objects.get()
    assert "options" not in row.data
    assert not row.data["controlled"]


def test_who_begins_forgets_what_ended_long_ago() -> None:
    publish("old", canned.status(pid=1))
    command = Order.objects.create(snapshot=Snapshot.objects.get(), command="reload", values={})
    Snapshot.objects.update(updated_at=ago(KEPT))
    Order.objects.filter(pk=command.pk).update(created_at=ago(KEPT))
    publish("new", canned.status(pid=2))
    assert [row.name for row in Snapshot.objects.all()] == ["new"]
    assert not Order.objects.exists()


def test_a_command_is_carried_out_once_and_its_answer_kept() -> None:
    asked: Asked = []
    publish("deliver", canned.status(), recorder(asked))
    command = Order.objects.create(
        snapshot=Snapshot.objects.get(), command="scale", values={"processes": 3}
    )
    for _ in range(2):
        publish("deliver", canned.status(), recorder(asked))
    assert asked == [("scale", {"processes": 3})]
    command.refresh_from_db()
    assert command.answer == {"ok": True}


def test_a_command_that_is_not_fetched_in_time_is_not_carried_out() -> None:
    asked: Asked = []
    publish("deliver", canned.status(), recorder(asked))
    Order.objects.create(snapshot=Snapshot.objects.get(), command="reload", values={})
    Order.objects.update(created_at=ago(COMMAND_LIFETIME))
    publish("deliver", canned.status(), recorder(asked))
    assert asked == []


def test_a_command_for_another_daemon_is_left_to_it() -> None:
    asked: Asked = []
    publish("other", canned.status(pid=1))
    Order.objects.create(snapshot=Snapshot.objects.get(), command="reload", values={})
    publish("deliver", canned.status(pid=2), recorder(asked))
    assert asked == []


def test_it_borrows_from_no_pool_which_may_be_exhausted() -> None:
    connection.ensure_connection()

    def borrows() -> int:
        return sum(pool.wait.count for pool in pool_stats())

    before = borrows()
    assert before > 0
    publisher = threading.Thread(target=publish, args=("deliver", canned.status()))
    publisher.start()
    publisher.join()
    assert borrows() == before
    assert Snapshot.objects.exists()


@pytest.mark.mysql
def test_it_logs_in_with_the_password_of_the_provider(caplog: pytest.LogCaptureFixture) -> None:
    password = connection.settings_dict["PASSWORD"]
    given: list[str] = []

    def provider() -> str:
        given.append(password)
        return password

    pool = {"password_provider": provider}
    with use_database("default", PASSWORD="", OPTIONS={"pool": pool}):
        publish("deliver", canned.status())
    assert given
    assert not caplog.records
    assert Snapshot.objects.exists()


def test_a_database_that_does_not_answer_is_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise DatabaseError("no such table: pooldaemon_dashboard_snapshot")

    monkeypatch.setattr(publishing, "_save", fail)
    with caplog.at_level(logging.WARNING):
        publish("deliver", canned.status())
    (record,) = caplog.records
    assert "no such table" in record.getMessage()
    assert record.exc_info is None
