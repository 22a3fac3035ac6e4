from datetime import timedelta

import pytest

from pooldaemon_example.webhooks.conf import WebhookConfig
from pooldaemon_example.webhooks.models import Delivery
from pooldaemon_example.webhooks.outcomes import Answer, judge, retry_delay

Status = Delivery.Status


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_2xx_is_delivered(config: WebhookConfig, status: int) -> None:
    assert judge(Answer(status), 1, config).status == Status.DELIVERED


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_a_4xx_is_dead_at_the_first_attempt_with_the_reason(
    config: WebhookConfig, status: int
) -> None:
    outcome = judge(Answer(status), 1, config)
    assert outcome.status == Status.DEAD
    assert outcome.error == f"HTTP {status}: not retried"


@pytest.mark.parametrize("status", [301, 408, 425, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again_until_the_last_attempt(
    config: WebhookConfig, status: int
) -> None:
    for attempt in range(1, config.max_attempts):
        outcome = judge(Answer(status), attempt, config)
        assert (outcome.status, outcome.error) == (Status.PENDING, f"HTTP {status}")
    outcome = judge(Answer(status), config.max_attempts, config)
    assert outcome.status == Status.DEAD
    assert outcome.error == f"HTTP {status}: gave up after attempt {config.max_attempts}"


def test_no_answer_is_tried_again_and_the_error_kept(config: WebhookConfig) -> None:
    outcome = judge(Answer(error="connection refused"), 1, config)
    assert (outcome.status, outcome.error) == (Status.PENDING, "connection refused")


def test_the_delay_stays_below_a_doubling_ceiling_and_fills_it(config: WebhookConfig) -> None:
    for attempt, ceiling in ((1, 10), (2, 20), (3, 40), (4, 60), (5, 60), (30_000, 60)):
        delays = [retry_delay(attempt, config) for _ in range(300)]
        assert 0 <= min(delays) < ceiling * 0.1
        assert ceiling * 0.9 < max(delays) <= ceiling


def test_retry_after_is_waited_out_up_to_the_cap(config: WebhookConfig) -> None:
    assert retry_delay(1, config, retry_after=45) == 45
    assert retry_delay(1, config, retry_after=1e300) == config.retry_cap
    outcome = judge(Answer(429, retry_after=45), 1, config)
    assert outcome.delay == timedelta(seconds=45)


def test_a_short_retry_after_does_not_shorten_the_backoff(config: WebhookConfig) -> None:
    assert max(retry_delay(1, config, retry_after=1) for _ in range(100)) > 5
