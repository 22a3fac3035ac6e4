"""Runs in the child: a unit that a lock stood in the way of is done once more."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from django.db import OperationalError

from pooldaemon.workers.worker.context import WorkContext

logger = logging.getLogger("pooldaemon.workers")

IN_THE_WAY = frozenset(
    {
        1205,  # lock wait timeout exceeded
        1213,  # deadlock found
    }
)
"""The server has rolled the transaction, or its statement, back: another try may well succeed."""

PAUSE = 0.05
"""Seconds before the first further try; twice as long before each next one, and shortened at random
by up to half, so that those who met do not meet again."""


def with_retries(
    perform: Callable[[WorkContext], Any], retries: int
) -> Callable[[WorkContext], Any]:
    """*perform*, done again up to *retries* times after a deadlock or lock wait timeout."""

    def tries(ctx: WorkContext) -> Any:
        for further in range(retries):
            try:
                return perform(ctx)
            except OperationalError as error:
                if error.args[0] not in IN_THE_WAY or ctx.stopping:
                    raise
                logger.info("%s: tried again after %s", ctx.name, error)
            ctx.wait(PAUSE * 2**further * random.uniform(0.5, 1.0))
        return perform(ctx)

    return tries
