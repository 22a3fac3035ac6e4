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
"""The tag of our system checks that do not connect."""

WEB_PROCESSES = Number(0, 100_000, whole=True)

FINDINGS, BLIND = 1, 2
"""Exit statuses: something is wrong; something could not be looked at."""


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--database", metavar="ALIAS", help="only this one; default: all")
    daemons.add_directory(parser)
    parser.add_argument(
        "--web-processes",
        type=int,
        metavar="N",
        help="processes that serve requests; default: WEB_CONCURRENCY, or 1",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: Mapping[str, Any], out: OutputWrapper) -> None:
    """
    :raises CommandError: an option is wrong, or not all could be looked at.
    """
    _check(options)
    unseen: list[str] = []
    databases = _look_at_servers(read_databases(), options["database"], unseen)
    told = _ask_daemons(options["directory"], unseen)
    workers = tuple(map(running, told)) or configured()
    case = Case(
        databases=databases,
        processes=(web_processes(options["web_processes"]), *workers),
        uses=tuple(use for one in told for use in uses(one)),
        max_process=read_max_process(),
    )
    messages = [message for message in run_checks(tags=[CHECKS]) if not message.is_silenced()]
    messages += advice.examine(case, (*advice.SERVERS, *advice.LOAD))
    if (alias := options["database"]) is not None:
        messages = [message for message in messages if _is_about(message, alias, case)]
    _tell(messages, out, as_json=options["json"])
    if unseen:
        raise CommandError("Not looked at: " + "\n".join(unseen), returncode=BLIND)
    if messages:
        sys.exit(FINDINGS)


def _check(options: Mapping[str, Any]) -> None:
    alias, count = options["database"], options["web_processes"]
    if alias is not None and alias not in connections:
        names = ", ".join(connections)
        raise CommandError(
            f"--database {alias}: there is none such.{nearest(alias, connections)} Valid: {names}.",
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
    """What those that live tell."""
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
            told = daemon.ask("status")
        except OSError as error:
            told = {"error": error.strerror or str(error)}
        if "error" in told:
            unseen.append(f"daemon {daemon.name}: {told['error']}")
        else:
            answers.append({**told, "name": daemon.name})  # by which other verbs know it
    return answers


def _has_pidfiles() -> bool:
    try:
        return bool(
            os.environ.get(daemons.PIDFILE_VARIABLE) or pooldaemon_settings().get("PIDFILE")
        )
    except ImproperlyConfigured:
        return False  # which a check tells


def _is_about(message: CheckMessage, alias: str, case: Case) -> bool:
    """Whether it is about this database, or about what is no database's."""
    wheres = {database.alias for database in case.databases}
    named = str(message.obj).split(", ") if message.obj else []
    return alias in named or not wheres.intersection(named)


def _tell(messages: Iterable[CheckMessage], out: OutputWrapper, *, as_json: bool) -> None:
    if as_json:
        told = [
            {
                "id": message.id,
                "severity": "error" if message.is_serious() else "warning",
                "where": message.obj,
                "found": message.msg,
                "advice": message.hint,
            }
            for message in messages
        ]
        out.write(json.dumps(told))
        return
    for message in messages:
        where = f"{message.obj}: " if message.obj else ""
        out.write(clean(f"{message.id} {where}{message.msg}"))
        out.write(clean(f"    {message.hint}"))
