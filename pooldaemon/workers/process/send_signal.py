"""How the signals of :mod:`pooldaemon.signals` are sent."""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

from pooldaemon.connections import auto_close_db
from pooldaemon.workers.process.inheritance import no_child_returns

logger = logging.getLogger("pooldaemon.signals")


def send_signal(signal: Signal, sender: type, **values: Any) -> None:
    """Call the receivers of *signal*. Whatever they raise is logged."""
    try:
        with auto_close_db(), no_child_returns("a receiver of a signal"):
            answers = signal.send_robust(sender, **values)
    except (Exception, SystemExit):  # what it lets through
        logger.exception("A receiver of a signal failed")
        return
    for receiver, answer in answers:
        if isinstance(answer, Exception):
            # Django has logged it as well, but its logger may have no handler here.
            logger.error("A receiver of a signal failed: %s", receiver, exc_info=answer)
