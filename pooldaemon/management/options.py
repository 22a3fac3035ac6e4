"""From command line, settings and class attributes to a :class:`DaemonConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from pooldaemon.conf import DAEMON_RULES, DaemonConfig, check_value, pooldaemon_settings


def add_daemon_arguments(parser: CommandParser) -> None:
    """The options of every daemon command. What is not given is ``None``."""
    parser.add_argument("--processes", type=int, metavar="N", help="worker processes")
    parser.add_argument("--threads", type=int, metavar="N", help="threads in each worker process")
    parser.add_argument(
        "--max-connections",
        type=int,
        metavar="N",
        help="most database connections per worker process and database, whatever settings say",
    )
    parser.add_argument(
        "--idle-interval",
        type=float,
        metavar="SECONDS",
        help="how long a thread waits after it found no work",
    )
    parser.add_argument(
        "--graceful-timeout",
        type=float,
        metavar="SECONDS",
        help="how long running work gets to end after TERM or INT before it is killed",
    )
    parser.add_argument(
        "--until-idle", action="store_true", help="end when no thread finds work any more"
    )
    parser.add_argument("--pidfile", metavar="FILE", help="refuse to start a second time")
    parser.add_argument("--logfile", metavar="FILE", help="log to this file instead of stderr")
    parser.add_argument(
        "--detach",
        action="store_true",
        help="go into the background (needs --logfile); returns when the workers are ready",
    )


def read_config(command: object, options: Mapping[str, Any]) -> DaemonConfig:
    """The command line goes before ``settings.POOLDAEMON``, and that before class attributes.

    :raises CommandError: a value is wrong; the message names where it was given.
    """
    configured = pooldaemon_settings()
    values: dict[str, Any] = {}
    for name, rule in DAEMON_RULES.items():
        if options.get(name) is not None:
            where, value = f"--{name.replace('_', '-')}", options[name]
        elif name.upper() in configured:
            where, value = f"settings.POOLDAEMON[{name.upper()!r}]", configured[name.upper()]
        else:
            where, value = f"{type(command).__name__}.{name}", getattr(command, name)
        try:
            check_value(where, rule, value)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        values[name] = value
    return DaemonConfig(**values, until_idle=bool(options.get("until_idle")))
