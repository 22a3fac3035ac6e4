"""The example's unit of work, which notes its steps, and gets into trouble when a test says so."""

import logging.handlers
import multiprocessing
import os
import threading

import release
from django.db import DatabaseError, connection, transaction

from pooldaemon_example.webhooks import claims, sending
from pooldaemon_example.webhooks.claims import Claim
from pooldaemon_example.webhooks.conf import WebhookConfig
from pooldaemon_example.webhooks.delivery import deliver_next
from pooldaemon_example.webhooks.models import Delivery
from pooldaemon_example.webhooks.outcomes import Answer, Outcome
from tests.lifecycle.project.journal import journal

HOG = 300  # MiB

# As a project may have it: a log in a place where it can't always be written, beside stderr.
logging.basicConfig(
    format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s",
    handlers=[
        logging.StreamHandler(),
        logging.handlers.WatchedFileHandler(os.environ["CHAOS_LOG"], delay=True),
    ],
)
logging.getLogger("pooldaemon").setLevel(logging.INFO)

deliver = deliver_next
_post, _record = sending.post, claims.record
_hogged: list[bytes] = []


def post(claim: Claim, config: WebhookConfig) -> Answer:
    if journal().take_order("statement"):
        with transaction.atomic():
            Delivery.objects.select_for_update().get(pk=claim.id)
            with connection.cursor() as cursor:
                cursor.execute("SELECT SLEEP(600)")
        connection.close()
    if journal().take_order("children"):
        with multiprocessing.Pool(2) as pool:
            assert pool.map(abs, [-1, -2]) == [1, 2]
    journal().note("posting", delivery=claim.id, attempt=claim.attempt, release=release.NUMBER)
    answer = _post(claim, config)
    if journal().take_order("hang"):
        threading.Event().wait()
    if journal().take_order("hog"):
        # Piece by piece: in one go no other thread of the worker would run for a while.
        _hogged.extend(b"x" * 2**20 for _ in range(HOG))
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
