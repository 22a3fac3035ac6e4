"""Runs in the child: retries a unit after a deadlock or a lock wait timeout."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from django.db import OperationalError

from pooldaemon.workers.worker.context import WorkContext

logger = logging.getLogger("pooldaemon.workers")

LOCK_ERRORS = frozenset(
    {
        1205,  # lock wait timeout exceeded
        1213,  # deadlock found
    }
)
"""The server has rolled back the transaction (1213) or a statement (1205): a retry may succeed."""

PAUSE = 0.05
"""Seconds before the first retry. Doubled before each further one, and shortened at random by up to
half, so that two units do not collide again."""


def with_retries(
    perform: Callable[[WorkContext], Any], retries: int
) -> Callable[[WorkContext], Any]:
    """*perform*, retried up to *retries* times after a deadlock or lock wait timeout.

    It is not retried while the worker drains.
    """

    def tries(ctx: WorkContext) -> Any:
        for retry in range(retries):
            try:
                return perform(ctx)
            except OperationalError as error:
                if error.args[0] not in LOCK_ERRORS or ctx.stopping:
                    raise
                logger.info("%s: retrying a unit of work after %s", ctx.name, error)
            ctx.wait(PAUSE * 2**retry * random.uniform(0.5, 1.0))
        return perform(ctx)

    return tries
