"""The page's actions on a daemon."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pooldaemon.conf import DAEMON_RULES, nearest
from pooldaemon.dashboard.models import COMMANDS, Snapshot
from pooldaemon.dashboard.sources import DONE, QUEUED, STARTED, Source, all_sources


class ActionError(Exception):
    """An action has failed; the text is for the user."""


def find_source(name: str) -> Source:
    """The daemon with the id *name*.

    :raises ActionError: there is no such daemon, or it can't be operated.
    """
    found = {source.id: source for source in all_sources()}
    if name not in found:
        raise ActionError(f"{name!r} is not a daemon that publishes its status now.")
    source = found[name]
    if not source.can_be_operated:
        raise ActionError(f"{name} can't be operated: it has no control socket (--pidfile).")
    return source


def read_action(posted: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The command in a form, and its arguments.

    :raises ActionError: there is no such command, or an argument is wrong.
    """
    command = posted.get("command", "")
    if command not in COMMANDS:
        valid = ", ".join(COMMANDS)
        near = nearest(command, COMMANDS)
        raise ActionError(f"{command!r} is not an action.{near} Valid: {valid}.")
    return command, {"processes": _read_size(posted)} if command == "scale" else {}


def carry_out(source: Source, command: str, values: Mapping[str, Any]) -> str:
    """Send the command to the daemon, or queue it in the database; returns the result as text.

    :raises ActionError: the daemon refuses it, or does not answer.
    """
    if source.daemon is None:
        Snapshot(source.row).orders.create(command=command, values=dict(values))
        return QUEUED
    try:
        answer = source.daemon.ask(command, **values)
    except OSError as error:
        raise ActionError(f"no answer: {error.strerror or error}") from None
    if "error" in answer:
        raise ActionError(str(answer["error"]))
    return DONE.get(command, STARTED)


def _read_size(posted: Mapping[str, str]) -> int:
    rule = DAEMON_RULES["processes"]
    given = posted.get("processes", "")
    with suppress(ValueError):  # not a number, or one of thousands of digits
        if rule.accepts(size := int(given)):
            return size
    found = f", not {given[:20]}" if given else ""
    raise ActionError(f"The number of workers must be {rule}{found}.")
