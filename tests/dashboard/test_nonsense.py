"""Whoever can write to the tables writes what he likes: the daemon's helper and the page go on.

See :mod:`tests.unit.nonsense`.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client

from pooldaemon.dashboard import publishing
from pooldaemon.dashboard.models import COMMANDS, Order, Snapshot
from pooldaemon.dashboard.publishing import publish_daemon
from pooldaemon.workers.ipc import control
from tests.dashboard import canned
from tests.unit.nonsense import Nonsense

pytestmark = pytest.mark.django_db(transaction=True)

DATA = "/admin/pooldaemon_dashboard/snapshot/data/"

VALUES: list[dict[str, Any]] = [
    {"processes": 3},
    {"pool": "default"},
    {},
    {"environment_of": 1},
    {"pool": ["default"], "processes": True},
]


@pytest.fixture(autouse=True)
def _no_daemon_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket's side is real, up to what is done about a request."""

    def ask(path: Path, command: str, /, **values: Any) -> dict[str, Any]:
        request = control._encode({**values, "command": command})
        answer = json.loads(control._answer(request, lambda asked: {"heard": len(asked)}))
        assert isinstance(answer, dict)
        return answer

    monkeypatch.setattr(publishing, "ask", ask)


def write(model: type[Order | Snapshot], column: str, text: bytes) -> None:
    """Into all rows, past Django, as far as the database takes it."""
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    with suppress(DatabaseError, UnicodeError), connection.cursor() as cursor:
        value = text.decode(errors="surrogateescape")
        cursor.execute(f"UPDATE {table} SET {quote(column)} = %s", [value])


def test_whatever_is_in_the_tables_orders_are_answered_and_the_page_is_shown(
    admin_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def attack(nonsense: Nonsense) -> None:
        Snapshot.objects.all().delete()
        publish_daemon(Path("sock"), canned.status())
        snapshot = Snapshot.objects.get()
        strange = [str(nonsense.value())[:20] for _ in range(2)]
        with suppress(DatabaseError, UnicodeError, ValueError):
            for verb in [*nonsense.random.sample(COMMANDS, 2), *strange]:
                Order.objects.create(snapshot=snapshot, command=verb, values={})
        values = nonsense.random.choice(VALUES)
        write(Order, "values", nonsense.text(nonsense.changed(values)))
        publish_daemon(Path("sock"), canned.status())
        answers = Order.objects.values_list("answer", flat=True)
        assert all(isinstance(answer, dict) for answer in answers)
        if nonsense.random.random() < 0.5:
            write(
                Order,
                "answer",
                nonsense.text(nonsense.changed({"error": "it is draining"})),
            )
            write(Snapshot, "data", nonsense.text(nonsense.changed(canned.status())))
        assert admin_client.get(DATA).status_code == 200

    Nonsense().go_on(attack)
    assert not caplog.records


def test_what_the_page_can_not_show_hides_nothing_else(admin_client: Client) -> None:
    publish_daemon(Path("sock"), canned.status(pid=1))
    write(Snapshot, "data", b'{"pid": 1, "workers": 5}')
    publish_daemon(Path("sock"), canned.status(pid=2))
    data = admin_client.get(DATA).json()
    assert [source["status"]["pid"] for source in data["sources"]] == [2]


@pytest.mark.parametrize("text", [b'{"processes": ' + b"9" * 5000 + b"}", b"[" * 20 + b"]" * 20])
def test_an_order_that_can_not_be_read_is_refused_with_the_reason(text: bytes) -> None:
    publish_daemon(Path("sock"), canned.status())
    for verb in ("scale", "reload"):
        Order.objects.create(snapshot=Snapshot.objects.get(), command=verb, values={})
    write(Order, "values", text)
    publish_daemon(Path("sock"), canned.status())
    reason = "the values of a command must be a JSON object of texts and numbers"
    if connection.vendor == "mysql" and not connection.mysql_is_mariadb and b"9" in text:  # type: ignore[attr-defined]
        reason = ""  # MySQL does not take such a number
    for answer in Order.objects.values_list("answer", flat=True):
        assert answer == ({"error": reason} if reason else {"heard": 1})
