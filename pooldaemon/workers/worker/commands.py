"""Runs in the child: carries out the commands to pools that the supervisor passes on."""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from typing import Any

from pooldaemon.connections import close_paused_pools, control_pools
from pooldaemon.pool_commands import LASTING_STATE, PoolCommand
from pooldaemon.workers.ipc.channel import Links

logger = logging.getLogger("pooldaemon.workers")

PAUSED_INTERVAL = 500
"""Milliseconds between closing what paused pools have opened meanwhile."""


class CommandListener:
    """Receives commands, carries each out and reports the result.

    :param after_each: called before the result is reported, so that the supervisor has what it
        reports by then.
    :param before_pause: called before pools are paused: a unit that began meanwhile would only wait
        for a connection.
    """

    def __init__(
        self,
        links: Links,
        after_each: Callable[[], object],
        before_pause: Callable[[], object] = lambda: None,
    ) -> None:
        self._commands = links.commands
        self._sender = links.sender
        self._after_each = after_each
        self._before_pause = before_pause

    def catch_up(self) -> None:
        """Carry out the commands that have arrived. Does not wait for more."""
        for message in self._commands.receive():
            if message["kind"] != "command":  # of a later version
                continue
            if message.get("verb") == "pause":
                self._before_pause()
            done, refused = _carry_out(message)
            self._after_each()
            result = {"number": message.get("number"), "done": done, "refused": refused}
            while not self._sender.send("command_done", **result) and done:
                del done[len(done) // 2 :]

    def follow(self) -> None:
        """Carry out commands until the supervisor has gone. Needs a thread of its own: closing
        connections waits for the server."""
        poll = select.poll()
        poll.register(self._commands.descriptor, select.POLLIN)
        while not self._commands.ended:
            poll.poll(PAUSED_INTERVAL if close_paused_pools() else None)
            self.catch_up()


def _carry_out(message: dict[str, Any]) -> tuple[list[str], str | None]:
    """The names of the pools that have carried the command out, and why others can't."""
    verb = message.get("verb")
    if verb not in LASTING_STATE:
        return [], f"this worker's version of pooldaemon has no command {verb!r}"
    command = PoolCommand.of(message)
    try:
        results = control_pools(command)
    except Exception as error:
        logger.exception("%s of pools failed", command.verb)
        return [], str(error)
    done = [name for name, error in results if error is None]
    refused = [f"{name}: {error}" for name, error in results if error is not None]
    return done, "; ".join(refused) or None
