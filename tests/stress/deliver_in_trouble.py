"""The example's unit of work in chaos: it gets into trouble when a test says so."""

import logging.handlers
import multiprocessing
import os
import threading

import release
from django.db import connection, transaction

from pooldaemon_example.webhooks import sending
from pooldaemon_example.webhooks.claims import Claim
from pooldaemon_example.webhooks.conf import WebhookConfig
from pooldaemon_example.webhooks.models import Delivery
from pooldaemon_example.webhooks.outcomes import Answer
from tests.lifecycle.project.journal import journal
from tests.stress import deliver_and_note

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

deliver = deliver_and_note.deliver
deliver_and_note.about["release"] = release.NUMBER
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
    answer = deliver_and_note.post(claim, config)
    if journal().take_order("hang"):
        threading.Event().wait()
    if journal().take_order("hog"):
        # Piece by piece: in one go no other thread of the worker would run for a while.
        _hogged.extend(b"x" * 2**20 for _ in range(HOG))
    return answer


sending.post = post
