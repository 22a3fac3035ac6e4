"""A real daemon publishes its status in the database, and takes commands from there."""

import pytest

from pooldaemon.dashboard.models import Order, Snapshot
from tests.dashboard import load
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.support.poll import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def answer_to(snapshot: Snapshot, verb: str, values: object = None) -> object:
    command = Order.objects.create(snapshot=snapshot, command=verb, values=values or {})

    def answer() -> object:
        command.refresh_from_db()
        return command.answer

    return wait_until(answer, TIMEOUT, f"an answer to {verb}")


def test_a_daemon_publishes_its_workers_and_carries_out_a_command_from_the_database(
    daemon: Daemon,
) -> None:
    load.switch(daemon.directory).touch()

    def snapshot() -> Snapshot | None:
        return Snapshot.objects.filter(data__state="running", data__units__gt=0).first()

    row = wait_until(snapshot, TIMEOUT, "units in the database")
    assert row.name == "rundaemon"
    assert row.data["pid"] == daemon.process.pid
    assert row.data["controlled"]
    assert len(row.data["workers"]) == 2
    assert answer_to(row, "scale", {"processes": 3}) == {"before": 2, "processes": 3}
    three = Snapshot.objects.filter(data__processes=3)
    wait_until(three.exists, TIMEOUT, "three workers in the database")
    daemon.stop()


def test_what_the_page_does_not_offer_is_not_carried_out_whoever_wrote_it(daemon: Daemon) -> None:
    snapshot = wait_until(Snapshot.objects.first, TIMEOUT, "a snapshot")
    assert answer_to(snapshot, "stop") == {"error": "not allowed from the admin: stop"}
    assert daemon.process.poll() is None
    daemon.stop()


@pytest.mark.parametrize(
    ("command", "values", "error"),
    [
        ("scale", {"processes": 1001}, "processes is 1001; it must be a whole number from 1 to"),
        ("scale", {"processes": True}, "processes is True; it must be a whole number"),
        ("scale", {"processes": "3"}, "processes is '3'; it must be a whole number"),
        ("scale", [3], "the values of a command must be a JSON object of texts and numbers"),
        ("scale", {"size": 3}, "not understood"),
        ("pause", {"pool": ["default"]}, "a JSON object of texts and numbers"),
        ("pause", {"command": "stop", "pool": "deflaut"}, "Did you mean 'default'?"),
    ],
)
def test_an_order_in_the_table_is_held_to_the_limits_of_the_page(
    daemon: Daemon, command: str, values: object, error: str
) -> None:
    snapshot = wait_until(Snapshot.objects.first, TIMEOUT, "a snapshot")
    answer = answer_to(snapshot, command, values)
    assert isinstance(answer, dict)
    assert error in answer["error"]
    daemon.stop()
