"""Decides by an answer whether a delivery is done, dead, or retried, and when."""

import random
from dataclasses import dataclass
from datetime import timedelta

from pooldaemon_example.webhooks.conf import WebhookConfig
from pooldaemon_example.webhooks.models import Delivery

# 4xx statuses that may change with time: timeout, too early, too many requests.
TRANSIENT_4XX = frozenset({408, 425, 429})

_random = random.SystemRandom()


@dataclass(frozen=True)
class Answer:
    """The receiver's answer. Without a status there was none, and `error` says why."""

    status: int | None = None
    body: str = ""
    error: str = ""
    retry_after: float | None = None


@dataclass(frozen=True)
class Outcome:
    status: Delivery.Status
    error: str = ""
    delay: timedelta = timedelta(0)


def judge(answer: Answer, attempt: int, config: WebhookConfig) -> Outcome:
    status = answer.status
    if status is not None and 200 <= status < 300:
        return Outcome(Delivery.Status.DELIVERED)
    reason = f"HTTP {status}" if status is not None else answer.error
    if status is not None and 400 <= status < 500 and status not in TRANSIENT_4XX:
        return Outcome(Delivery.Status.DEAD, f"{reason}: not retried")
    if attempt >= config.max_attempts:
        return Outcome(Delivery.Status.DEAD, f"{reason}: gave up after attempt {attempt}")
    delay = retry_delay(attempt, config, answer.retry_after)
    return Outcome(Delivery.Status.PENDING, reason, timedelta(seconds=delay))


def retry_delay(attempt: int, config: WebhookConfig, retry_after: float | None = None) -> float:
    """Seconds until the next attempt: exponential backoff with full jitter, so that deliveries that
    have failed together are not retried together; at least the receiver's Retry-After, up to the
    cap."""
    # The exponent is bounded, or the float would overflow; the cap applies long before.
    ceiling = min(config.retry_cap, config.retry_base * 2 ** min(attempt - 1, 32))
    asked = min(config.retry_cap, retry_after or 0)
    return max(asked, _random.uniform(0, ceiling))
