"""``manage.py check``: the settings of this package, and with ``--database`` the servers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections

from pooldaemon.conf import check_settings

# The rules are imported when a check runs: many commands run none, and this is imported by all.

DOCS = "See docs/settings.rst, section"


def check_pooldaemon_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """E002: ``settings.POOLDAEMON`` is wrong."""
    try:
        check_settings()
    except ImproperlyConfigured as error:
        hint = f"{DOCS}s process-settings and daemon-settings."
        return [checks.Error(str(error), hint=hint, id="pooldaemon.E002")]
    return []


def check_pool_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """E001: the pool settings of a database are wrong. W001: a historic setting has no effect.
    W002: with another setting, transaction mode has no effect. Opens no connections."""
    messages: list[checks.CheckMessage] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DeprecationWarning)
        for alias in connections:
            try:
                check = getattr(connections[alias], "check_pool_settings", None)
                config = check() if check is not None else None
                if config is not None and config.mode == "transaction":
                    messages.extend(_check_autocommit(alias))
            except ImproperlyConfigured as error:
                messages.append(
                    checks.Error(
                        str(error), hint=f"{DOCS} pool-settings.", obj=alias, id="pooldaemon.E001"
                    )
                )
    texts = dict.fromkeys(str(warning.message) for warning in caught)
    messages.extend(
        checks.Warning(text, hint=f"{DOCS} historic-settings.", id="pooldaemon.W001")
        for text in texts
        if "MYSQLPOOL" in text
    )
    return messages


def _check_autocommit(alias: str) -> list[checks.CheckMessage]:
    if connections[alias].settings_dict["AUTOCOMMIT"]:
        return []
    return [
        checks.Warning(
            f"DATABASES[{alias!r}]['AUTOCOMMIT'] is False: every statement is in a transaction, so "
            "with 'mode': 'transaction' no connection is returned before the unit of work ends.",
            hint="See docs/checks.rst#pooldaemon-w002.",
            obj=alias,
            id="pooldaemon.W002",
        )
    ]


def check_settings_together(**kwargs: Any) -> list[checks.CheckMessage]:
    """The rules of :mod:`pooldaemon.advice.on_settings`. Opens no connections."""
    from pooldaemon import advice  # noqa: PLC0415 - see above

    return advice.examine(advice.read_case(), advice.SETTINGS)


def check_deployment(**kwargs: Any) -> list[checks.CheckMessage]:
    """The rules of :mod:`pooldaemon.advice.on_settings` for ``--deploy``. Opens no connections."""
    from pooldaemon import advice  # noqa: PLC0415 - see above

    return advice.examine(advice.read_case(), advice.DEPLOY)


def check_servers(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """The rules of :mod:`pooldaemon.advice.on_servers`, for ``--database``.

    ``migrate`` and ``test`` run it, too, so all its messages are warnings. Servers that do not
    answer are skipped.
    """
    from pooldaemon import advice  # noqa: PLC0415 - see above
    from pooldaemon.advice.server import look  # noqa: PLC0415

    case = advice.read_case()
    seen = []
    for database in case.databases:
        if database.alias in (databases or ()):
            with suppress(DatabaseError, ImproperlyConfigured):
                seen.append(look(database))
    return advice.examine(replace(case, databases=tuple(seen)), advice.SERVERS)
