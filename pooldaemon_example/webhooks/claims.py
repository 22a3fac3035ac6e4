"""Selects the next delivery, claims it, and records its outcome: all SQL of the daemon.

A claim is a lease. It sets `due_at` to the end of the lease and does not change the status, so that
a delivery whose worker has died becomes due again when the lease expires. Deliveries are therefore
sent at least once; receivers recognise repetitions by the delivery's id. Due times are compared
with the worker's clock: the clocks of machines that share the table must differ by much less than a
lease.
"""

import logging
import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from pooldaemon_example.webhooks.conf import WebhookConfig
from pooldaemon_example.webhooks.models import ERROR_LENGTH, Delivery
from pooldaemon_example.webhooks.outcomes import Answer, Outcome

logger = logging.getLogger(__name__)
_random = random.SystemRandom()

# Without SKIP LOCKED all workers see the same first rows. Each picks one of this many at random, so
# that few of them try to claim the same row.
CONTENDED_HEAD = 32


@dataclass(frozen=True)
class Claim:
    id: int
    url: str
    payload: Any
    attempt: int
    token: uuid.UUID


def next_due() -> datetime | None:
    """When the earliest pending delivery is due, in one query; None when none is pending."""
    return _pending().values_list("due_at", flat=True).first()


def claim(config: WebhookConfig) -> Claim | None:
    """Claim a due delivery. None when another worker was faster, or when the delivery had no
    attempts left and was marked as dead; in both cases others may be due."""
    due = _pending().filter(due_at__lte=timezone.now())
    if connection.features.has_select_for_update_skip_locked:
        with transaction.atomic():
            delivery = due.select_for_update(skip_locked=True).first()
            return _take(delivery, config) if delivery else None
    # Without the payloads; that of the chosen row is fetched when it is read.
    head = list(due.defer("payload")[:CONTENDED_HEAD])
    return _take(_random.choice(head), config) if head else None


def record(claim: Claim, answer: Answer, outcome: Outcome) -> bool:
    """Record the outcome. False when the lease has expired and another worker has claimed the
    delivery since."""
    now = timezone.now()
    finished = outcome.status != Delivery.Status.PENDING
    # The token keeps a late worker from overwriting the claim or the outcome of another one.
    recorded = Delivery.objects.filter(pk=claim.id, claim_token=claim.token).update(
        status=outcome.status,
        due_at=now + outcome.delay,
        claim_token=None,
        response_status=answer.status,
        response_body=answer.body,
        error=outcome.error[:ERROR_LENGTH],
        finished_at=now if finished else None,
    )
    if not recorded:
        logger.warning(
            "delivery %s: attempt %s took longer than its lease", claim.id, claim.attempt
        )
    elif outcome.status == Delivery.Status.DEAD:
        logger.warning("delivery %s is dead: %s", claim.id, outcome.error)
    return bool(recorded)


def _pending() -> QuerySet[Delivery]:
    return Delivery.objects.filter(status=Delivery.Status.PENDING).order_by("due_at", "id")


def _take(delivery: Delivery, config: WebhookConfig) -> Claim | None:
    """Claim the row if it has not changed (compare-and-set). With SKIP LOCKED it is locked already,
    and can't have changed."""
    seen = Delivery.objects.filter(
        pk=delivery.pk,
        status=Delivery.Status.PENDING,
        due_at=delivery.due_at,
        claim_token=delivery.claim_token,
    )
    now = timezone.now()
    if delivery.attempts >= config.max_attempts:
        reason = f"gave up after attempt {delivery.attempts}"
        if delivery.claim_token:
            reason += ", whose lease expired without an outcome"
        if seen.update(
            status=Delivery.Status.DEAD, error=reason, claim_token=None, finished_at=now
        ):
            logger.warning("delivery %s is dead: %s", delivery.pk, reason)
        return None
    token = uuid.uuid4()
    attempt = delivery.attempts + 1
    taken = seen.update(
        claim_token=token, due_at=now + timedelta(seconds=config.lease), attempts=attempt
    )
    if not taken:
        return None
    return Claim(delivery.pk, delivery.url, delivery.payload, attempt, token)
