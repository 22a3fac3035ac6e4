"""``manage.py pooldaemon doctor``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.checks import CheckMessage, run_checks
from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.db import DatabaseError, connections

from pooldaemon import advice
from pooldaemon.advice.case import Case, Database, read_databases, read_max_process, web_processes
from pooldaemon.advice.daemons import configured, running, uses
from pooldaemon.advice.server import look
from pooldaemon.conf import Number, nearest, pooldaemon_settings
from pooldaemon.console import daemons
from pooldaemon.console.words import clean
from pooldaemon.exceptions import ImproperlyConfigured

CHECKS = "pooldaemon"
"""The tag of this package's system checks that do not connect."""

WEB_PROCESSES = Number(0, 100_000, whole=True)

FINDINGS, BLIND = 1, 2
"""Exit statuses: there are findings; a server or a daemon could not be examined."""


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--database", metavar="ALIAS", help="examine only this database; default: all"
    )
    daemons.add_directory(parser)
    parser.add_argument(
        "--web-processes",
        type=int,
        metavar="N",
        help="the number of processes that serve requests; default: WEB_CONCURRENCY, or 1",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Mapping[str, Any], out: OutputWrapper) -> None:
    """Print what is wrong; exit with status 1 if there is anything.

    :raises CommandError: an option is wrong, or a server or a daemon could not be examined.
    """
    _check(options)
    unseen: list[str] = []
    databases = _look_at_servers(read_databases(), options["database"], unseen)
    statuses = _ask_daemons(options["directory"], unseen)
    workers = tuple(map(running, statuses)) or configured()
    case = Case(
        databases=databases,
        processes=(web_processes(options["web_processes"]), *workers),
        uses=tuple(use for status in statuses for use in uses(status)),
        max_process=read_max_process(),
    )
    messages = [message for message in run_checks(tags=[CHECKS]) if not message.is_silenced()]
    messages += advice.examine(case, (*advice.SERVERS, *advice.LOAD))
    if (alias := options["database"]) is not None:
        messages = [message for message in messages if _is_about(message, alias, case)]
    _print(messages, out, as_json=options["json"])
    if unseen:
        raise CommandError("Not examined: " + "\n".join(unseen), returncode=BLIND)
    if messages:
        sys.exit(FINDINGS)


def _check(options: Mapping[str, Any]) -> None:
    alias, count = options["database"], options["web_processes"]
    if alias is not None and alias not in connections:
        names = ", ".join(connections)
        raise CommandError(
            f"--database {alias}: no such database.{nearest(alias, connections)} Valid: {names}.",
            returncode=BLIND,
        )
    if count is not None and not WEB_PROCESSES.accepts(count):
        raise CommandError(
            f"--web-processes is {count}; it must be {WEB_PROCESSES}.", returncode=BLIND
        )


def _look_at_servers(
    databases: Iterable[Database], alias: str | None, unseen: list[str]
) -> tuple[Database, ...]:
    looked_at = []
    for database in databases:
        try:
            chosen = alias in (None, database.alias)
            looked_at.append(look(database) if chosen else database)
        except (DatabaseError, ImproperlyConfigured) as error:
            looked_at.append(database)
            unseen.append(f"database {database.alias}: {error}")
    return tuple(looked_at)


def _ask_daemons(directory: str | None, unseen: list[str]) -> list[dict[str, Any]]:
    """The statuses of the running daemons; errors are appended to *unseen*."""
    answers = []
    if not directory and not _has_pidfiles():
        return []
    try:
        living = [daemon for daemon in daemons.search(directory) if daemon.is_alive]
    except CommandError as error:
        unseen.append(str(error))
        return []
    for daemon in living:
        try:
            status = daemon.ask("status")
        except OSError as error:
            status = {"error": error.strerror or str(error)}
        if "error" in status:
            unseen.append(f"daemon {daemon.name}: {status['error']}")
        else:
            answers.append({**status, "name": daemon.name})  # the name of --daemon
    return answers


def _has_pidfiles() -> bool:
    try:
        return bool(
            os.environ.get(daemons.PIDFILE_VARIABLE) or pooldaemon_settings().get("PIDFILE")
        )
    except ImproperlyConfigured:
        return False  # which a check reports


def _is_about(message: CheckMessage, alias: str, case: Case) -> bool:
    """Whether the message is about the database *alias*, or about no database."""
    wheres = {database.alias for database in case.databases}
    named = str(message.obj).split(", ") if message.obj else []
    return alias in named or not wheres.intersection(named)


def _print(messages: Iterable[CheckMessage], out: OutputWrapper, *, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "id": message.id,
                "severity": "error" if message.is_serious() else "warning",
                "where": message.obj,
                "found": message.msg,
                "advice": message.hint,
            }
            for message in messages
        ]
        out.write(json.dumps(rows))
        return
    for message in messages:
        where = f"{message.obj}: " if message.obj else ""
        out.write(clean(f"{message.id} {where}{message.msg}"))
        out.write(clean(f"    {message.hint}"))
