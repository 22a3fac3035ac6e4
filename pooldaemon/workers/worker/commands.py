"""Runs in the child: what the operator tells its pools to do, by way of the supervisor."""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from typing import Any

from pooldaemon.connections import close_paused_pools, control_pools
from pooldaemon.pool_commands import LASTING_STATE, PoolCommand
from pooldaemon.workers.ipc.channel import Links

logger = logging.getLogger("pooldaemon.workers")

AGAIN = 500
"""Milliseconds between looks whether paused pools are closed."""


class CommandListener:
    """Carries out commands and answers each.

    :param after_each: called before the answer: what it tells is known when the answer is.
    :param before_pause: called first: a unit that begins while pools are closed would fail.
    """

    def __init__(
        self,
        links: Links,
        after_each: Callable[[], object],
        before_pause: Callable[[], object] = lambda: None,
    ) -> None:
        self._commands = links.commands
        self._answers = links.sender
        self._after_each = after_each
        self._before_pause = before_pause

    def catch_up(self) -> None:
        """Carry out what has come. Does not wait for more."""
        for message in self._commands.receive():
            if message.get("verb") == "pause":
                self._before_pause()
            done, refused = _carry_out(message)
            self._after_each()
            answer = {"number": message.get("number"), "done": done, "refused": refused}
            while not self._answers.send("command_done", **answer) and done:
                del done[len(done) // 2 :]

    def follow(self) -> None:
        """For a thread of its own: a server that is slow to let go of sessions may hold it up."""
        poll = select.poll()
        poll.register(self._commands.descriptor, select.POLLIN)
        while not self._commands.ended:
            poll.poll(AGAIN if close_paused_pools() else None)
            self.catch_up()


def _carry_out(message: dict[str, Any]) -> tuple[list[str], str | None]:
    """The names of the pools, of which an answer has as many as go into it, and why some can't."""
    verb = message.get("verb")
    if verb not in LASTING_STATE:
        return [], f"this worker's version knows no {verb!r}"
    command = PoolCommand(verb, message.get("pool"), message.get("size"))
    try:
        told = control_pools(command)
    except Exception as error:
        logger.exception("%s of pools failed", command.verb)
        return [], str(error)
    done = [name for name, refusal in told if refusal is None]
    refused = [f"{name}: {refusal}" for name, refusal in told if refusal is not None]
    return done, "; ".join(refused) or None
