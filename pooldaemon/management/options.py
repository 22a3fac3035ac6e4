"""From command line, settings and class attributes to a :class:`DaemonConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from pooldaemon.conf import DAEMON_RULES, DaemonConfig, check_value, pooldaemon_settings

ARGUMENTS: dict[str, tuple[type, str, str]] = {
    "processes": (int, "N", "worker processes"),
    "threads": (int, "N", "threads in each worker process"),
    "max_connections": (
        int,
        "N",
        "most database connections per worker process and database, whatever settings say",
    ),
    "idle_interval": (float, "SECONDS", "how long a thread waits after it found no work"),
    "graceful_timeout": (
        float,
        "SECONDS",
        "how long running work gets to end after TERM or INT before it is killed",
    ),
    "boot_timeout": (float, "SECONDS", "how long a worker gets to be ready"),
    "heartbeat_timeout": (
        float,
        "SECONDS",
        "a worker that is silent for so long is killed and replaced",
    ),
    "unit_timeout": (
        float,
        "SECONDS",
        "a unit of work that takes longer hangs: its statement is ended, its worker replaced",
    ),
    "crash_limit": (int, "N", "deaths of a worker in a row after which the daemon gives up"),
    "max_units": (int, "N", "replace a worker after so many units of work"),
    "max_rss": (int, "MIB", "replace a worker that uses more memory"),
    "max_age": (float, "SECONDS", "replace a worker after so long a time"),
}
"""Of each option: the type, what stands for it, and the help."""


def add_daemon_arguments(parser: CommandParser) -> None:
    """The options of every daemon command. What is not given is ``None``."""
    for name, (kind, metavar, text) in ARGUMENTS.items():
        parser.add_argument(flag(name), type=kind, metavar=metavar, help=text)
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
            where, value = flag(name), options[name]
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


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")
