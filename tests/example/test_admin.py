import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from pooldaemon_example.webhooks.models import Delivery
from tests.example.conftest import MakeDelivery

pytestmark = pytest.mark.django_db
LIST = "admin:webhooks_delivery_changelist"
Status = Delivery.Status


def test_the_list_shows_deliveries_with_their_reasons(
    admin_client: Client, make_delivery: MakeDelivery
) -> None:
    make_delivery(url="http://h/one", status=Status.DEAD, error="HTTP 410: not retried")
    page = admin_client.get(reverse(LIST)).content.decode()
    assert "http://h/one" in page
    assert "HTTP 410: not retried" in page


def test_the_list_filters_by_status_and_searches(
    admin_client: Client, make_delivery: MakeDelivery
) -> None:
    make_delivery(url="http://h/one", status=Status.DEAD)
    make_delivery(url="http://h/two")
    for query in ({"status__exact": "dead"}, {"q": "/one"}):
        page = admin_client.get(reverse(LIST), query).content.decode()
        assert "http://h/one" in page
        assert "http://h/two" not in page


def test_a_delivery_can_be_looked_at_but_not_changed(
    admin_client: Client, make_delivery: MakeDelivery
) -> None:
    delivery = make_delivery(payload={"name": "Zoë"})
    page = reverse("admin:webhooks_delivery_change", args=[delivery.id])
    assert "Zoë" in admin_client.get(page).content.decode()
    assert admin_client.post(page, {"url": "http://changed/"}).status_code == 403
    assert admin_client.get(reverse("admin:webhooks_delivery_add")).status_code == 403


def test_dead_deliveries_can_be_retried_and_others_are_left_alone(
    admin_client: Client, make_delivery: MakeDelivery
) -> None:
    dead = make_delivery(status=Status.DEAD, attempts=3, finished_at=timezone.now())
    done = make_delivery(status=Status.DELIVERED, attempts=1, finished_at=timezone.now())
    chosen = {"action": "retry_dead", "_selected_action": [dead.id, done.id]}
    answer = admin_client.post(reverse(LIST), chosen, follow=True)
    assert "Dead deliveries to be retried: 1" in answer.content.decode()
    dead.refresh_from_db()
    done.refresh_from_db()
    assert (dead.status, dead.attempts, dead.finished_at) == (Status.PENDING, 0, None)
    assert dead.due_at <= timezone.now()
    assert (done.status, done.attempts) == (Status.DELIVERED, 1)
