"""The daemon's unit of work: send the next due delivery."""

from datetime import timedelta

from django.utils import timezone

from pooldaemon_example.webhooks import claims, sending
from pooldaemon_example.webhooks.conf import WebhookConfig
from pooldaemon_example.webhooks.outcomes import judge


def deliver_next(ctx: object) -> bool | timedelta:
    """Send one delivery and return True. When none is due, return the time until the next one is,
    or False when none is pending. While idle, the daemon runs one query each time."""
    due_at = claims.next_due()
    if due_at is None:
        return False
    wait = due_at - timezone.now()
    if wait > timedelta(0):
        return wait
    config = WebhookConfig.from_settings()
    claim = claims.claim(config)
    if claim is None:
        return True
    answer = sending.post(claim, config)
    claims.record(claim, answer, judge(answer, claim.attempt, config))
    return True
