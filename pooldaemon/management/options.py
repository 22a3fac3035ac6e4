"""Reads the options of daemons from the command line, the environment, settings and attributes."""

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
    count,
    pooldaemon_settings,
)
from pooldaemon.workers.supervisor.budget import RESERVE

PLACEHOLDER = "{command}"
"""Stands for the command's name in text options, so that one setting serves all commands."""

PREFIX = "POOLDAEMON_"
"""The prefix of environment variables."""


def per_database(text: str) -> int | dict[str, int]:
    """Read ``"4"``, ``"4,replica=2"`` or ``"replica=2"``.

    :raises ValueError: it is none of these.
    """
    numbers = {}
    for part in text.split(","):
        alias, named, number = part.rpartition("=")
        numbers[alias.strip() if named else ALL] = int(number)
    return numbers[ALL] if [*numbers] == [ALL] else numbers


SWITCHES = ("until_idle", "strict", "autoreload")
"""Options that can be given on the command line only."""


ARGUMENTS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "processes": (int, "N", "worker processes"),
    "threads": (int, "N", "threads in each worker process"),
    "max_connections": (
        per_database,
        "[ALIAS=]N",
        "most connections of a worker process to each database, or to ALIAS; overrides settings",
    ),
    "total_connections": (
        int,
        "N",
        "most connections of the whole daemon to each database, divided among the workers",
    ),
    "idle_interval": (float, "SECONDS", "how long a thread waits after it has found no work"),
    "graceful_timeout": (
        float,
        "SECONDS",
        "how long running units of work have to end after TERM or INT before they are killed",
    ),
    "setup_timeout": (float, "SECONDS", "how long setup() may take"),
    "boot_timeout": (float, "SECONDS", "how long a worker has to become ready"),
    "exit_timeout": (float, "SECONDS", "how long worker_exit() may take, at least"),
    "heartbeat_timeout": (
        float,
        "SECONDS",
        "kill and replace a worker that has sent no heartbeat for this time",
    ),
    "unit_timeout": (
        float,
        "SECONDS",
        "kill the statement of a unit of work that takes longer, and replace its worker",
    ),
    "crash_limit": (int, "N", "end the daemon after N deaths of a worker in a row"),
    "retries": (int, "N", "retry a unit of work up to N times after a deadlock or lock timeout"),
    "max_units": (int, "N", "replace a worker after N units of work"),
    "max_rss": (int, "MIB", "replace a worker that uses this much memory"),
    "max_age": (float, "SECONDS", "replace a worker after this time"),
}
"""For each option: the function that reads it, its placeholder in the help, and its help."""


def add_daemon_arguments(parser: CommandParser) -> None:
    """Add the options of daemon commands. The value of an option that is not given is ``None``."""
    parser.add_argument(
        "daemon_action",
        nargs="*",
        metavar="action",
        help="run (the default: in the foreground), start (in the background), stop, "
        "restart, reload, status, or scale N; all but run need a pidfile",
    )
    _add_daemon_settings(parser)
    _add_files_and_addresses(parser)
    _add_options_of_actions(parser)


def _add_daemon_settings(parser: CommandParser) -> None:
    """How the daemon works: what can be set elsewhere too, and what only a command line has."""
    for name, (read, metavar, text) in ARGUMENTS.items():
        if read is per_database:
            parser.add_argument(flag(name), action="append", metavar=metavar, help=text)
        else:
            parser.add_argument(flag(name), type=read, metavar=metavar, help=text)
    parser.add_argument("--until-idle", action="store_true", help="end when there is no work left")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse to start if the server allows fewer connections than the workers may open",
    )
    parser.add_argument(
        "--autoreload", action="store_true", help="for development: reload when code changes"
    )


def _add_files_and_addresses(parser: CommandParser) -> None:
    """Where others find the daemon: its pidfile, log, health file and metrics."""
    parser.add_argument(
        "--pidfile", metavar="FILE", help="lock this file, so that the daemon runs only once"
    )
    parser.add_argument("--logfile", metavar="FILE", help="log to this file; -: to stderr")
    parser.add_argument(
        "--health-file", metavar="FILE", help="touch this file once a second while workers live"
    )
    parser.add_argument(
        "--metrics-address",
        metavar="HOST:PORT",
        help="serve metrics to Prometheus (:PORT: on this machine only); needs a pidfile",
    )


def _add_options_of_actions(parser: CommandParser) -> None:
    """What a single action takes, and what is done instead of ``run``."""
    parser.add_argument(
        "--detach",
        action="store_true",
        help="run in the background (needs --logfile); return when the workers are ready",
    )
    parser.add_argument(
        "--print-systemd",
        action="store_true",
        help="print a systemd unit for this command line, and exit",
    )
    parser.add_argument("--user", metavar="NAME", help="with start: run as this user")
    parser.add_argument("--group", metavar="NAME", help="with start: run as this group")
    parser.add_argument("--umask", metavar="OCTAL", help="with start: for new files; default: 022")
    parser.add_argument("--directory", metavar="DIR", help="with start: the working directory")
    parser.add_argument(
        "--update-env",
        action="store_true",
        help="with reload: replace the daemon's environment by that of this command (Linux)",
    )
    parser.add_argument("--json", action="store_true", help="with status: print JSON")


@dataclass(frozen=True)
class Option:
    """The value of an option, and where it was given: ``"--threads"``, ``"Command.threads"``."""

    value: Any
    origin: str


def read_options(command: object, given: Mapping[str, Any]) -> dict[str, Option]:
    """All options by name, from the first of these that has them: the command line, the
    environment, ``settings.POOLDAEMON``, the attributes of the command.

    :param given: the options of the command line.
    :raises CommandError: a value is wrong; the message says where it was given.
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
    """The pidfile of a running daemon, and its ``graceful_timeout`` in seconds.

    Raises nothing, so that a daemon can be stopped whatever its options: invalid values are
    ignored.
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
    if isinstance(value, list):  # an option that can be given several times
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
        return Option(text, origin)  # which its rule will refuse


def config_of(options: Mapping[str, Option], **switches: bool) -> DaemonConfig:
    """The configuration of a daemon.

    :param options: as of :func:`read_options`.
    :param switches: the values of :data:`SWITCHES`.
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
        workers = count(config.processes, "worker process")
        raise CommandError(
            f"{options['total_connections'].origin} is {total}; for {workers} it must be "
            f"{config.processes + RESERVE} or more: one for each, and one for helper processes."
        )
    return config


def shown(value: Any) -> str:
    """An option's value, in the form of the command line."""
    if not isinstance(value, Mapping):
        return str(value)
    texts = [str(n) if alias == ALL else f"{alias}={n}" for alias, n in value.items()]
    return ",".join(texts)


def name_of(command: object) -> str:
    """The command's name, as in ``manage.py NAME``."""
    return type(command).__module__.rpartition(".")[2]


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")
