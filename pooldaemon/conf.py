"""Valid values of settings, and errors for invalid ones.

Settings become frozen, validated dataclasses before they are used: ``settings.POOLDAEMON`` here, as
:class:`ProcessConfig` for all pools of a process and :class:`DaemonConfig` for daemons; those of
pools in :mod:`pooldaemon.pool.config`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import NoneType
from typing import Any

from django.conf import settings

from pooldaemon.exceptions import ImproperlyConfigured

MAX_SECONDS = 7 * 24 * 3600.0
"""A week. Longer times are probably given in another unit."""

MAX_CONNECTIONS = 100_000
"""MySQL's upper limit of ``max_connections``."""

DEFAULT_POOL_SIZE = 10
"""Connections of a pool, if its settings do not say how many."""

PUBLISH_INTERVAL = 5.0
"""The default, in seconds."""


@dataclass(frozen=True)
class Number:
    """An integer, or a number of seconds, within a range.

    :ivar low: the smallest valid number.
    :ivar high: the largest valid number.
    :ivar whole: whether it must be an integer. Default: ``False``, a number of seconds.
    :ivar also: further valid values, such as ``None``.
    """

    low: float
    high: float
    whole: bool = False
    also: tuple[Any, ...] = ()

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number of seconds"
        also = "".join(f", or {value}" for value in self.also)
        return f"{kind} from {self.low:g} to {self.high:g}{also}"

    def accepts(self, value: Any) -> bool:
        if any(value is other or value == other for other in self.also):
            return True
        kinds = (int,) if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        return self.low <= value <= self.high  # false for NaN


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(repr(value) for value in self.values)

    def accepts(self, value: Any) -> bool:
        return any(type(value) is type(other) and value == other for other in self.values)


ALL = "*"
"""Key for the databases that are not named."""

PerDatabase = Mapping[str, int]
"""Numbers by database alias, and by :data:`ALL`. Without either, a database has none."""


@dataclass(frozen=True)
class NumberPerDatabase:
    """A number for all databases, or a dict of numbers by database alias."""

    number: Number

    def __str__(self) -> str:
        text, code = "4,replica=2", {ALL: 4, "replica": 2}
        return f"{self.number}, or one for each database: {text} as a text, {code} in Python"

    def accepts(self, value: Any) -> bool:
        if isinstance(value, dict):
            return bool(value) and all(
                isinstance(alias, str) and number is not None and self.number.accepts(number)
                for alias, number in value.items()
            )
        return self.number.accepts(value)


def of_database(numbers: PerDatabase, alias: str) -> int | None:
    """The number for the database *alias*, or ``None``."""
    return numbers.get(alias, numbers.get(ALL))


Rule = Number | NumberPerDatabase | Choice


def nearest(given: str, valid: Iterable[str]) -> str:
    """``" Did you mean 'x'?"``, or an empty text if no valid word is similar."""
    words = {word.casefold(): word for word in valid}
    near = difflib.get_close_matches(given.casefold(), list(words), n=1)
    return f" Did you mean {words[near[0]]!r}?" if near else ""


def count(number: int, noun: str) -> str:
    """``"1 worker"``, ``"2 workers"``, ``"2 processes"``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def check_value(where: str, rule: Rule, value: Any) -> None:
    """Check a value.

    :param where: where it was given, for the message.
    :raises ImproperlyConfigured: *rule* does not accept *value*, or it names an unknown database.
    """
    if not rule.accepts(value):
        raise ImproperlyConfigured(f"{where} is {value!r}; it must be {rule}.")
    if isinstance(value, dict):
        for alias in value:
            if alias != ALL and alias not in settings.DATABASES:
                hint = nearest(alias, settings.DATABASES)
                raise ImproperlyConfigured(
                    f"{where} names {alias!r}, which is not in settings.DATABASES.{hint}"
                )


def import_path(path: str) -> Any:
    """Import the object at a dotted path.

    :raises ValueError: it can't be imported; the message says why.
    """
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path!r} can't be imported: {error}") from None


@dataclass(frozen=True)
class DaemonConfig:
    """How a daemon runs. Its defaults are those of ``BaseDaemonCommand``.

    The parameters are attributes of :class:`~pooldaemon.management.base.BaseDaemonCommand`, which
    describes them, except these:

    :param max_connections: the caps by database; without one, the pool's settings apply.
    :param until_idle: end when there is no work left.
    :param strict: refuse to start if the server allows fewer connections than the workers may open.
    :param autoreload: reload when code has changed.
    """

    processes: int = 1
    threads: int = 4
    max_connections: PerDatabase = field(default_factory=dict)
    idle_interval: float = 1.0
    graceful_timeout: float = 30.0
    setup_timeout: float = 60.0
    boot_timeout: float = 60.0
    exit_timeout: float = 30.0
    heartbeat_timeout: float = 30.0
    unit_timeout: float | None = None
    crash_limit: int | None = 10
    max_units: int | None = None
    max_rss: int | None = None
    max_age: float | None = None
    retries: int = 0
    until_idle: bool = False
    total_connections: int | None = None
    strict: bool = False
    autoreload: bool = False

    @property
    def stop_timeout(self) -> float:
        """Seconds that a draining worker has for its units and for ``worker_exit()``."""
        return self.graceful_timeout + self.exit_timeout

    @property
    def preflight_timeout(self) -> float:
        """Seconds that the preflight of a reload has: it runs each hook once."""
        return self.setup_timeout + self.boot_timeout + self.exit_timeout


DAEMON_RULES: dict[str, Rule] = {
    "processes": Number(1, 1000, whole=True),
    "threads": Number(1, 10_000, whole=True),
    "max_connections": NumberPerDatabase(Number(1, MAX_CONNECTIONS, whole=True, also=(None,))),
    # At least one for a worker, and one for helper processes.
    "total_connections": Number(2, MAX_CONNECTIONS, whole=True, also=(None,)),
    "idle_interval": Number(0.01, MAX_SECONDS),
    "graceful_timeout": Number(0, MAX_SECONDS),
    "setup_timeout": Number(0.1, MAX_SECONDS),
    "boot_timeout": Number(0.1, MAX_SECONDS),
    "exit_timeout": Number(0.1, MAX_SECONDS),
    # A worker sends a heartbeat each second, or a little later on a busy machine.
    "heartbeat_timeout": Number(3, MAX_SECONDS),
    "unit_timeout": Number(0.1, MAX_SECONDS, also=(None,)),
    "crash_limit": Number(1, 1000, whole=True, also=(None,)),
    "max_units": Number(1, 10**12, whole=True, also=(None,)),
    "max_rss": Number(1, 10**7, whole=True, also=(None,)),
    "retries": Number(0, 20, whole=True),
    "max_age": Number(1, 52 * MAX_SECONDS, also=(None,)),
}


@dataclass(frozen=True)
class ProcessConfig:
    """Limits for all pools of a process together.

    :param max_pools: the number of pools above which unused ones are closed.
    :param max_process_connections: the most connections of all pools; ``None``: no limit.
    """

    max_pools: int = 100
    max_process_connections: int | None = None


PROCESS_RULES: dict[str, Rule] = {
    "max_pools": Number(1, 100_000, whole=True),
    "max_process_connections": Number(1, MAX_CONNECTIONS, whole=True, also=(None,)),
}

PUBLISHING_RULES = {"publish_interval": Number(1, 3600)}

PATHS = ("pidfile", "logfile", "health_file")
SURROUNDINGS = ("user", "group", "umask", "directory")
TEXTS = (*PATHS, *SURROUNDINGS, "metrics_address")
"""Options of daemons with a text as value."""
TEXT_SETTINGS = frozenset({"TARGET", *map(str.upper, TEXTS)})
RULES = {
    name.upper(): rule for name, rule in (DAEMON_RULES | PROCESS_RULES | PUBLISHING_RULES).items()
}
SETTINGS = frozenset(RULES) | TEXT_SETTINGS
"""All keys of ``settings.POOLDAEMON``."""


def pooldaemon_settings() -> dict[str, Any]:
    """``settings.POOLDAEMON``, with its keys and texts checked, but not its numbers.

    :raises ImproperlyConfigured: it is not a dict, has an unknown key, or a value that must be a
        text is not.
    """
    given = getattr(settings, "POOLDAEMON", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"settings.POOLDAEMON is {given!r}; it must be a dict.")
    for key in given:
        if key not in SETTINGS:
            raise ImproperlyConfigured(
                f"settings.POOLDAEMON[{key!r}] is not a setting.{nearest(str(key), SETTINGS)}"
                f" Valid: {', '.join(sorted(SETTINGS))}."
            )
        if key in TEXT_SETTINGS and not isinstance(given[key], (str, os.PathLike, NoneType)):
            raise ImproperlyConfigured(
                f"settings.POOLDAEMON[{key!r}] is {given[key]!r}; it must be a string or a path."
            )
    return dict(given)


def check_settings(rules: Mapping[str, Rule] = RULES) -> dict[str, Any]:
    """The settings in ``settings.POOLDAEMON`` for which there is a rule, checked.

    :param rules: by key. Default: all.
    :raises ImproperlyConfigured: a value is wrong; the message names the key and what is valid.
    """
    given = {key: value for key, value in pooldaemon_settings().items() if key in rules}
    for key, value in given.items():
        check_value(f"settings.POOLDAEMON[{key!r}]", rules[key], value)
    return given


def read_process_config() -> ProcessConfig:
    """The limits in ``settings.POOLDAEMON``.

    :raises ImproperlyConfigured: a setting is wrong.
    """
    rules = {name.upper(): rule for name, rule in PROCESS_RULES.items()}
    return ProcessConfig(**{key.lower(): value for key, value in check_settings(rules).items()})


def read_publish_interval() -> float:
    """Seconds between two publications of a daemon or web process for the admin's page.

    :raises ImproperlyConfigured: the setting is wrong.
    """
    rules = {name.upper(): rule for name, rule in PUBLISHING_RULES.items()}
    return float(check_settings(rules).get("PUBLISH_INTERVAL", PUBLISH_INTERVAL))
