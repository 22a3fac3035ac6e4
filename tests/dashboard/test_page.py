from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from pooldaemon.dashboard import sources
from pooldaemon.dashboard.models import Order, Snapshot
from tests.dashboard import canned
from tests.dashboard.conftest import StaffClient

pytestmark = pytest.mark.django_db
PAGE = "/admin/pooldaemon_dashboard/snapshot/"
WORKERS = "The number of workers must be a whole number from 1 to 1000"
VIEW, OPERATE = "view_snapshot", "operate_snapshot"


class FakeDaemon:
    """Answers in a daemon's place."""

    is_alive = True

    def __init__(self, answer: dict[str, Any] | OSError) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def ask(self, command: str, **values: Any) -> dict[str, Any]:
        if command == "status":
            return canned.status(pid=99, options={"pidfile": {"value": "/run/x.pid"}})
        self.asked.append((command, values))
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


@contextmanager
def daemons(monkeypatch: pytest.MonkeyPatch, *found: Any) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(sources, "configured_directory", lambda: "/run")
        patch.setattr(sources, "find", lambda directory: [*found])
        yield


def act(client: Client, **posted: object) -> Any:
    return client.post(PAGE + "act/", posted)


def test_the_page_has_the_name_of_the_admins_list() -> None:
    assert reverse("admin:pooldaemon_dashboard_snapshot_changelist") == PAGE


def test_who_is_not_staff_is_asked_to_log_in(client: Client) -> None:
    for path in ("", "data/"):
        assert client.get(PAGE + path).status_code == 302
    assert act(client, command="reload").status_code == 302


def test_staff_without_the_permission_get_403_and_no_entry_in_the_index(
    staff: StaffClient,
) -> None:
    client = staff()
    for path in ("", "data/"):
        assert client.get(PAGE + path).status_code == 403
    assert act(client, command="reload").status_code == 403
    assert PAGE not in client.get("/admin/").content.decode()


def test_to_look_takes_one_permission_and_to_operate_another(
    staff: StaffClient, snapshot: Snapshot
) -> None:
    client = staff(VIEW)
    page = client.get(PAGE)
    assert page.status_code == 200
    assert b"data-command" not in page.content
    assert PAGE in client.get("/admin/").content.decode()
    assert act(client, source=snapshot.source, command="reload").status_code == 403
    assert not Order.objects.exists()
    assert not LogEntry.objects.exists()


def test_to_operate_alone_is_not_enough(staff: StaffClient, snapshot: Snapshot) -> None:
    client = staff(OPERATE)
    assert act(client, source=snapshot.source, command="reload").status_code == 403


def test_rows_can_be_neither_added_nor_changed_nor_deleted(
    admin_client: Client, snapshot: Snapshot
) -> None:
    for path in ("add/", f"{snapshot.pk}/change/", f"{snapshot.pk}/delete/"):
        assert admin_client.get(PAGE + path).status_code == 404


def test_an_action_needs_the_token_against_forged_requests(
    admin_user: User, snapshot: Snapshot
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    posted = {"source": snapshot.source, "command": "reload"}
    assert client.post(PAGE + "act/", posted).status_code == 403
    client.get(PAGE)
    token = client.cookies["csrftoken"].value
    assert client.post(PAGE + "act/", posted, headers={"X-CSRFToken": token}).status_code == 200


def test_an_action_is_a_post_and_looking_is_none(admin_client: Client) -> None:
    assert admin_client.get(PAGE + "act/").status_code == 405
    assert admin_client.post(PAGE).status_code == 405
    assert admin_client.post(PAGE + "data/").status_code == 405


def test_the_data_are_what_the_daemon_published_and_how_long_ago(
    staff: StaffClient, snapshot: Snapshot
) -> None:
    answer = staff(VIEW).get(PAGE + "data/")
    (source,) = answer.json()["sources"]
    assert source["status"]["workers"] == canned.status()["workers"]
    assert (source["name"], source["host"], source["via"]) == (
        "deliver_webhooks",
        "box",
        "database",
    )
    assert source["operable"]
    assert 0 <= source["age"] < 60


def test_what_has_been_silent_for_long_is_not_shown(staff: StaffClient, snapshot: Snapshot) -> None:
    Snapshot.objects.update(updated_at=snapshot_time(snapshot) - sources.SHOWN)
    assert staff(VIEW).get(PAGE + "data/").json()["sources"] == []


def snapshot_time(snapshot: Snapshot) -> Any:
    snapshot.refresh_from_db()
    return snapshot.updated_at


def test_a_daemon_that_is_reached_both_ways_is_shown_once_and_asked(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Snapshot.objects.create(
        source=sources.source_of(99), name="x", host="box", data=canned.status()
    )
    daemon = FakeDaemon({"before": 2, "processes": 3})
    with daemons(monkeypatch, daemon):
        (source,) = admin_client.get(PAGE + "data/").json()["sources"]
        assert (source["via"], source["id"]) == ("control socket", row.source)
        assert "options" not in source["status"]
        answer = act(admin_client, source=row.source, command="scale", processes=3)
    assert answer.json() == {"message": "deliver_webhooks: scale 3: done"}
    assert daemon.asked == [("scale", {"processes": 3})]
    assert LogEntry.objects.get().object_id == str(row.pk)


def test_a_daemon_that_only_its_socket_knows_is_operated_and_logged_too(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with daemons(monkeypatch, FakeDaemon({"number": 1})):
        answer = act(admin_client, source=sources.source_of(99), command="reload")
    assert answer.json() == {"message": "deliver_webhooks: reload: started"}
    assert LogEntry.objects.get().get_change_message() == "reload: started"


@pytest.mark.parametrize("refusal", [{"error": "draining"}, OSError(0, "draining")])
def test_a_daemon_that_refuses_or_does_not_answer_is_shown_and_logged(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, refusal: Any
) -> None:
    with daemons(monkeypatch, FakeDaemon(refusal)):
        answer = act(admin_client, source=sources.source_of(99), command="reload")
    assert answer.status_code == 409
    assert answer.json()["error"].endswith("draining")
    assert LogEntry.objects.get().get_change_message().endswith("draining")


def test_a_daemon_that_ends_while_it_is_asked_is_left_out(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(FakeDaemon):
        def ask(self, command: str, **values: Any) -> dict[str, Any]:
            raise ConnectionRefusedError

    with daemons(monkeypatch, Gone({})):
        assert admin_client.get(PAGE + "data/").json()["sources"] == []


def test_a_command_for_another_host_waits_in_the_database_and_the_history_names_its_user(
    staff: StaffClient, snapshot: Snapshot
) -> None:
    client = staff(VIEW, OPERATE)
    answer = act(client, source=snapshot.source, command="scale", processes="3")
    assert answer.json() == {
        "message": "deliver_webhooks: scale 3: queued for the daemon's next report"
    }
    order = Order.objects.get()
    assert (order.command, order.values, order.taken_at) == ("scale", {"processes": 3}, None)
    data = client.get(PAGE + "data/").json()
    (shown,) = data["sources"][0]["commands"]
    assert shown == {"command": "scale", "state": "queued for the daemon's next report"}
    (line,) = data["history"]
    assert line["who"] == "zoe"
    assert line["what"].endswith("scale 3: queued for the daemon's next report")
    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.object_id) == ("zoe", str(snapshot.pk))


@pytest.mark.parametrize(
    ("posted", "error"),
    [
        ({"command": "relaod"}, "'relaod' is not an action. Did you mean 'reload'? Valid: reload"),
        ({}, "'' is not an action."),
        ({"command": "stop"}, "'stop' is not an action."),
        ({"command": "scale"}, f"{WORKERS}."),
        (
            {"command": "scale", "processes": "0"},
            f"{WORKERS}, not 0.",
        ),
        ({"command": "scale", "processes": "²"}, f"{WORKERS}, not ²."),
        ({"command": "scale", "processes": "9" * 5000}, f"{WORKERS}, not {'9' * 20}."),
        ({"command": "reload", "source": "box:1"}, "'box:1' is not a daemon that publishes"),
    ],
)
def test_the_answer_to_a_wrong_request_says_what_is_right(
    admin_client: Client, snapshot: Snapshot, posted: dict[str, str], error: str
) -> None:
    answer = act(admin_client, **{"source": snapshot.source, **posted})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(error)
    assert not LogEntry.objects.exists()


def test_web_processes_and_daemons_without_a_socket_are_looked_at_only(
    admin_client: Client, snapshot: Snapshot
) -> None:
    Snapshot.objects.update(data=canned.status())
    assert not admin_client.get(PAGE + "data/").json()["sources"][0]["operable"]
    answer = act(admin_client, source=snapshot.source, command="reload")
    assert answer.status_code == 400
    assert "can't be operated" in answer.json()["error"]


def test_the_page_knows_how_often_processes_tell(admin_client: Client, settings: Settings) -> None:
    settings.POOLDAEMON = {"PUBLISH_INTERVAL": 7}
    assert '"interval": 7.0' in admin_client.get(PAGE).content.decode()
