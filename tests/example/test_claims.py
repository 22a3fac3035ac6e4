import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from pooldaemon_example.webhooks import claims
from pooldaemon_example.webhooks.conf import WebhookConfig
from pooldaemon_example.webhooks.models import Delivery
from pooldaemon_example.webhooks.outcomes import Answer, Outcome
from tests.example.conftest import MakeDelivery

Status = Delivery.Status
DELIVERED = Outcome(Status.DELIVERED)


def ago(seconds: float) -> datetime:
    return timezone.now() - timedelta(seconds=seconds)


def in_thread(function: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            function()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def expire(delivery_id: int) -> None:
    Delivery.objects.filter(pk=delivery_id).update(due_at=ago(0.001))


@pytest.mark.django_db
def test_the_earliest_pending_delivery_is_next_and_costs_one_query(
    make_delivery: MakeDelivery, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        assert claims.next_due() is None
    make_delivery(due_at=ago(500), status=Status.DELIVERED)
    make_delivery(due_at=ago(400), status=Status.DEAD)
    make_delivery(due_at=ago(-60))
    earliest = make_delivery(due_at=ago(-30))
    with django_assert_num_queries(1):
        assert claims.next_due() == earliest.due_at


@pytest.mark.django_db
def test_a_claim_leases_the_delivery_and_counts_the_attempt(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    delivery = make_delivery(payload={"n": 1})
    claim = claims.claim(config)
    assert (claim.id, claim.url, claim.payload) == (delivery.id, delivery.url, {"n": 1})
    assert claim.attempt == 1
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == (Status.PENDING, 1)
    assert delivery.claim_token == claim.token
    remaining = delivery.due_at - timezone.now()
    assert timedelta(seconds=25) < remaining <= timedelta(seconds=config.lease)


@pytest.mark.django_db
def test_what_is_leased_finished_or_not_due_is_not_claimed(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    make_delivery(due_at=ago(-5))
    make_delivery(status=Status.DEAD)
    make_delivery(status=Status.DELIVERED)
    make_delivery()
    assert claims.claim(config) is not None
    assert claims.claim(config) is None


@pytest.mark.django_db
def test_an_expired_lease_is_taken_over_with_a_token_of_its_own(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    delivery = make_delivery()
    first = claims.claim(config)
    expire(delivery.id)
    second = claims.claim(config)
    assert (second.id, second.attempt) == (first.id, 2)
    assert second.token != first.token


@pytest.mark.django_db
def test_a_late_worker_does_not_overwrite_its_successor(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    delivery = make_delivery()
    first = claims.claim(config)
    expire(delivery.id)
    second = claims.claim(config)
    assert claims.record(second, Answer(200, "thanks"), DELIVERED) is True
    assert claims.record(first, Answer(500), Outcome(Status.DEAD, "late")) is False
    delivery.refresh_from_db()
    assert (delivery.status, delivery.response_status) == (Status.DELIVERED, 200)
    assert (delivery.response_body, delivery.error) == ("thanks", "")


@pytest.mark.django_db
def test_a_late_worker_may_record_while_nobody_has_taken_over(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    delivery = make_delivery()
    claim = claims.claim(config)
    expire(delivery.id)
    assert claims.record(claim, Answer(200), DELIVERED) is True


@pytest.mark.django_db
def test_a_retry_is_recorded_with_its_time_and_error(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    delivery = make_delivery()
    retry = Outcome(Status.PENDING, "HTTP 503", timedelta(seconds=40))
    claims.record(claims.claim(config), Answer(503, "busy"), retry)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.claim_token) == (Status.PENDING, None)
    assert (delivery.error, delivery.response_body) == ("HTTP 503", "busy")
    assert timedelta(seconds=35) < delivery.due_at - timezone.now() <= timedelta(seconds=40)
    assert delivery.finished_at is None


@pytest.mark.django_db
def test_a_dead_delivery_keeps_reason_and_time_and_a_long_reason_fits(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    delivery = make_delivery()
    claims.record(claims.claim(config), Answer(error="x"), Outcome(Status.DEAD, "é" * 2000))
    delivery.refresh_from_db()
    assert (delivery.status, delivery.error) == (Status.DEAD, "é" * 500)
    assert delivery.finished_at is not None


@pytest.mark.django_db
def test_a_lease_that_runs_out_in_the_last_attempt_is_parked_dead(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    delivery = make_delivery(attempts=config.max_attempts - 1)
    assert claims.claim(config) is not None
    expire(delivery.id)
    assert claims.claim(config) is None
    delivery.refresh_from_db()
    assert (delivery.status, delivery.claim_token) == (Status.DEAD, None)
    assert delivery.error == "gave up after attempt 3, whose lease expired without an outcome"
    assert delivery.finished_at is not None
    assert claims.next_due() is None


@pytest.mark.django_db
def test_a_retry_beyond_a_lowered_limit_is_parked_dead(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    delivery = make_delivery(attempts=config.max_attempts, due_at=ago(1))
    assert claims.claim(config) is None
    delivery.refresh_from_db()
    assert (delivery.status, delivery.error) == (Status.DEAD, "gave up after attempt 3")


@pytest.mark.django_db(transaction=True)
def test_each_delivery_is_claimed_once_by_many_threads(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    ids = {make_delivery().id for _ in range(40)}
    taken: list[int] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            while claims.next_due() < timezone.now():
                if claim := claims.claim(config):
                    taken.append(claim.id)
        except Exception as error:
            errors.append(error)
            raise

    for thread in [in_thread(work) for _ in range(4)]:
        thread.join()
    assert not errors
    assert sorted(taken) == sorted(ids)


@pytest.mark.mysql
@pytest.mark.django_db(transaction=True)
def test_a_claim_skips_a_row_that_is_being_claimed(
    make_delivery: MakeDelivery, config: WebhookConfig
) -> None:
    first, second = make_delivery(due_at=ago(9)), make_delivery(due_at=ago(5))
    taken: list[int] = []
    with transaction.atomic():
        assert claims.claim(config).id == first.id
        in_thread(lambda: taken.append(claims.claim(config).id)).join(timeout=10)
    assert taken == [second.id]


@pytest.mark.mysql
@pytest.mark.django_db(transaction=True)
def test_the_claim_reads_its_row_off_the_index_without_sorting(make_delivery: MakeDelivery) -> None:
    Delivery.objects.bulk_create(
        Delivery(url="http://h/", payload={}, due_at=ago(number)) for number in range(500)
    )
    due = claims._pending().filter(due_at__lte=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE webhooks_delivery")
    plan = due[:1].explain(format="TRADITIONAL")
    assert "webhooks_due" in plan
    assert "filesort" not in plan
