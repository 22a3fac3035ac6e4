"""What may be asked of a daemon, and how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pooldaemon.conf import DAEMON_RULES, nearest
from pooldaemon.dashboard.models import COMMANDS, Snapshot
from pooldaemon.dashboard.sources import Source, all_sources


class ActionError(Exception):
    """It can't be done; the text is for the user."""


def find_source(name: str) -> Source:
    """
    :raises ActionError: there is no such daemon, or none that can be operated.
    """
    found = {source.id: source for source in all_sources()}
    if name not in found:
        raise ActionError(f"{name!r} is not, or not any more, a daemon that tells how it is.")
    source = found[name]
    if not source.can_be_operated:
        raise ActionError(f"{name} can't be operated: it has no control socket (--pidfile).")
    return source


def read_action(posted: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The command of a form, and its values.

    :raises ActionError: there is no such command, or a value is wrong.
    """
    command = posted.get("command", "")
    if command not in COMMANDS:
        valid = ", ".join(COMMANDS)
        near = nearest(command, COMMANDS)
        raise ActionError(f"{command!r} is not an action.{near} Valid: {valid}.")
    return command, {"processes": _read_size(posted)} if command == "scale" else {}


def carry_out(source: Source, command: str, values: Mapping[str, Any]) -> str:
    """Ask the daemon; returns what came of it, in words.

    :raises ActionError: it refuses, or does not answer.
    """
    if source.daemon is None:
        Snapshot(source.row).commands.create(verb=command, values=dict(values))
        return "left for its next report"
    try:
        answer = source.daemon.ask(command, **values)
    except OSError as error:
        raise ActionError(f"no answer: {error.strerror or error}") from None
    if "error" in answer:
        raise ActionError(str(answer["error"]))
    return "done" if command == "scale" else "begun"


def _read_size(posted: Mapping[str, str]) -> int:
    rule = DAEMON_RULES["processes"]
    given = posted.get("processes", "")
    with suppress(ValueError):  # no number, or one of thousands of digits
        if rule.accepts(size := int(given)):
            return size
    raise ActionError(f"scale is given {given[:20] or 'nothing'}; it must be {rule}.")
