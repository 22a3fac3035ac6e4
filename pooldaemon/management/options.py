"""From command line, environment, settings and class attributes to a :class:`DaemonConfig`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from pooldaemon.conf import (
    ALL,
    DAEMON_RULES,
    TEXTS,
    DaemonConfig,
    check_value,
    pooldaemon_settings,
)
from pooldaemon.workers.supervisor.budget import RESERVE

PLACEHOLDER = "{command}"
"""In a path it stands for the command's name: so one setting serves all commands of a project."""

PREFIX = "POOLDAEMON_"
"""Of environment variables."""


def per_database(text: str) -> int | dict[str, int]:
    """``"4"``, or ``"4,replica=2"``, or ``"replica=2"``.

    :raises ValueError: it is none of these.
    """
    numbers = {}
    for part in text.split(","):
        alias, named, number = part.rpartition("=")
        numbers[alias.strip() if named else ALL] = int(number)
    return numbers[ALL] if [*numbers] == [ALL] else numbers


SWITCHES = ("until_idle", "strict", "autoreload")
"""Options that only the command line has."""


ARGUMENTS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "processes": (int, "N", "worker processes"),
    "threads": (int, "N", "threads in each worker process"),
    "max_connections": (
        per_database,
        "[ALIAS=]N",
        "most connections per worker process and database, or to this one, whatever settings say",
    ),
    "total_connections": (
        int,
        "N",
        "most connections of the whole daemon per database, divided among the workers",
    ),
    "idle_interval": (float, "SECONDS", "how long a thread waits after it found no work"),
    "graceful_timeout": (
        float,
        "SECONDS",
        "how long running work gets to end after TERM or INT before it is killed",
    ),
    "setup_timeout": (float, "SECONDS", "how long setup() gets"),
    "boot_timeout": (float, "SECONDS", "how long a worker gets to be ready"),
    "exit_timeout": (float, "SECONDS", "how long worker_exit() gets, at the least"),
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
    "retries": (int, "N", "further tries of a unit after a deadlock or lock wait timeout"),
    "max_units": (int, "N", "replace a worker after so many units of work"),
    "max_rss": (int, "MIB", "replace a worker that uses more memory"),
    "max_age": (float, "SECONDS", "replace a worker after so long a time"),
}
"""Of each option: what reads it, what stands for it, and the help."""


def add_daemon_arguments(parser: CommandParser) -> None:
    """The options of every daemon command. What is not given is ``None``."""
    parser.add_argument(
        "daemon_action",
        nargs="*",
        metavar="action",
        help="run (the default: in the foreground), start (in the background), stop, "
        "restart, reload, status, or scale N; all but run need a pidfile",
    )
    for name, (read, metavar, text) in ARGUMENTS.items():
        if read is per_database:
            parser.add_argument(flag(name), action="append", metavar=metavar, help=text)
        else:
            parser.add_argument(flag(name), type=read, metavar=metavar, help=text)
    parser.add_argument(
        "--until-idle", action="store_true", help="end when no thread finds work any more"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse to start if the server allows fewer connections than the workers may open",
    )
    parser.add_argument(
        "--autoreload", action="store_true", help="for development: reload when code changes"
    )
    parser.add_argument("--pidfile", metavar="FILE", help="refuse to start a second time")
    parser.add_argument("--logfile", metavar="FILE", help="log to this file; -: to stderr")
    parser.add_argument(
        "--detach",
        action="store_true",
        help="go into the background (needs --logfile); returns when the workers are ready",
    )
    parser.add_argument(
        "--health-file", metavar="FILE", help="touch it once a second while workers live"
    )
    parser.add_argument(
        "--metrics-address",
        metavar="HOST:PORT",
        help="answer Prometheus there (:PORT is on this machine only); needs a pidfile",
    )
    parser.add_argument(
        "--print-systemd", action="store_true", help="print a unit for this command line, and end"
    )
    parser.add_argument("--user", metavar="NAME", help="with start: become this user")
    parser.add_argument("--group", metavar="NAME", help="with start: become this group")
    parser.add_argument(
        "--umask", metavar="OCTAL", help="with start: for the files that it makes; default 022"
    )
    parser.add_argument("--directory", metavar="DIR", help="with start: work there")
    parser.add_argument(
        "--update-env",
        action="store_true",
        help="with reload: bring the environment of this command, too (Linux)",
    )
    parser.add_argument("--json", action="store_true", help="with status: for programs")


@dataclass(frozen=True)
class Option:
    """A value, and where it was given: ``"--threads"``, ``"Command.threads"``."""

    value: Any
    origin: str


def read_options(command: object, given: Mapping[str, Any]) -> dict[str, Option]:
    """Every option by name. The command line goes before the environment, that before
    ``settings.POOLDAEMON``, and that before class attributes.

    :param given: the options of the command line.
    :raises CommandError: a value is wrong; the message names where it was given.
    """
    configured = pooldaemon_settings()
    options = {}
    for name, rule in DAEMON_RULES.items():
        option = _find(name, given, configured) or Option(
            getattr(command, name), f"{type(command).__name__}.{name}"
        )
        try:
            check_value(option.origin, rule, option.value)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        options[name] = option
    for name in TEXTS:
        option = _find(name, given, configured) or Option(None, "default")
        if option.value is not None:
            path = str(option.value).replace(PLACEHOLDER, name_of(command))
            option = replace(option, value=path)
        options[name] = option
    return options


def find_daemon(command: object, given: Mapping[str, Any]) -> tuple[str | None, float]:
    """The pidfile of a daemon that is to be asked, and the seconds that it gets to drain.

    Whatever else is wrong: what is no path or no such number is passed over.
    """
    configured = getattr(settings, "POOLDAEMON", None)
    configured = configured if isinstance(configured, Mapping) else {}
    option = _find("pidfile", given, configured)
    path = option.value if option and isinstance(option.value, str | os.PathLike) else None
    grace = _find("graceful_timeout", given, configured)
    seconds: Any = grace.value if grace else getattr(command, "graceful_timeout", None)
    if not DAEMON_RULES["graceful_timeout"].accepts(seconds):
        seconds = DaemonConfig.graceful_timeout
    return str(path).replace(PLACEHOLDER, name_of(command)) if path else None, float(seconds)


def _find(name: str, given: Mapping[str, Any], configured: Mapping[str, Any]) -> Option | None:
    key = name.upper()
    value = given.get(name)
    if isinstance(value, list):  # it may be given several times
        return _read(name, ",".join(value), flag(name))
    if value is not None:
        return Option(value, flag(name))
    if variable := os.environ.get(f"{PREFIX}{key}"):
        return _read(name, variable, f"{PREFIX}{key}")
    if key in configured:
        return Option(configured[key], f"settings.POOLDAEMON[{key!r}]")
    return None


def _read(name: str, text: str, origin: str) -> Option:
    read = ARGUMENTS[name][0] if name in ARGUMENTS else str
    try:
        return Option(read(text), origin)
    except ValueError:
        return Option(text, origin)  # to be refused by its rule


def config_of(options: Mapping[str, Option], **switches: bool) -> DaemonConfig:
    """
    :param switches: those of the configuration, which only the command line has.
    :raises CommandError: two options contradict each other.
    """
    values: dict[str, Any] = {name: options[name].value for name in DAEMON_RULES} | switches
    match values["max_connections"]:
        case None:
            values["max_connections"] = {}
        case int(cap):
            values["max_connections"] = {ALL: cap}
    config = DaemonConfig(**values)
    total = config.total_connections
    if total is not None and config.processes + RESERVE > total:
        raise CommandError(
            f"{options['total_connections'].origin} is {total}; for {config.processes} processes "
            f"it must be {config.processes + RESERVE} or more: one for each, and one for helpers."
        )
    return config


def shown(value: Any) -> str:
    """An option's value as one writes it on the command line."""
    if not isinstance(value, Mapping):
        return str(value)
    texts = [str(n) if alias == ALL else f"{alias}={n}" for alias, n in value.items()]
    return ",".join(texts)


def name_of(command: object) -> str:
    """What stands after ``manage.py``."""
    return type(command).__module__.rpartition(".")[2]


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")
