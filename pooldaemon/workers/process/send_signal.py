"""Sends the Django signals of :mod:`pooldaemon.signals`."""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

from pooldaemon.connections import auto_close_db
from pooldaemon.workers.process.inheritance import no_child_returns

logger = logging.getLogger("pooldaemon.signals")


def send_signal(signal: Signal, sender: type, **values: Any) -> None:
    """Call the receivers of *signal*. Their exceptions are logged, and their connections given
    back."""
    try:
        with auto_close_db(), no_child_returns("a receiver of a signal"):
            responses = signal.send_robust(sender, **values)
    except (Exception, SystemExit):  # SystemExit of a receiver; errors of the connections
        logger.exception("A receiver of a Django signal failed")
        return
    for receiver, response in responses:
        if isinstance(response, Exception):
            # Django logs it as well, but its logger may have no handler here.
            logger.error("A receiver of a Django signal failed: %s", receiver, exc_info=response)
