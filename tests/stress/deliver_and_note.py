"""The example's unit of work, which notes its steps."""

from typing import Any

from django.db import DatabaseError

from pooldaemon_example.webhooks import claims, sending
from pooldaemon_example.webhooks.claims import Claim
from pooldaemon_example.webhooks.conf import WebhookConfig
from pooldaemon_example.webhooks.delivery import deliver_next
from pooldaemon_example.webhooks.outcomes import Answer, Outcome
from tests.lifecycle.project.journal import journal

deliver = deliver_next
about: dict[str, Any] = {}
"""What is noted of each attempt beside."""

_post, _record = sending.post, claims.record


def post(claim: Claim, config: WebhookConfig) -> Answer:
    journal().note("posting", delivery=claim.id, attempt=claim.attempt, **about)
    answer = _post(claim, config)
    if answer.error:
        journal().note("no answer", delivery=claim.id, attempt=claim.attempt, error=answer.error)
    return answer


def record(claim: Claim, answer: Answer, outcome: Outcome) -> bool:
    noted = {"delivery": claim.id, "attempt": claim.attempt}
    try:
        recorded = _record(claim, answer, outcome)
    except DatabaseError as error:
        journal().note("not recorded", **noted, error=str(error))
        raise
    journal().note("recorded" if recorded else "not recorded", **noted)
    return recorded


sending.post, claims.record = post, record
