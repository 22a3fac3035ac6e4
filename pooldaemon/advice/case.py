"""What the rules examine: the settings of databases, and what servers and daemons have answered."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from pooldaemon.conf import DEFAULT_POOL_SIZE, PerDatabase, of_database, read_process_config
from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.pool.config import PoolConfig
from pooldaemon.stats import Histogram

MAX_SHOWN = 5
"""Names in a message, at most."""

SAME_POOL = ("ENGINE", "HOST", "PORT", "USER", "PASSWORD", "NAME", "OPTIONS", "AUTOCOMMIT")
"""Databases that agree in these settings share a pool."""


@dataclass(frozen=True)
class Code:
    """Triggers, views and functions that may change a session when a plain statement runs.

    :ivar suspects: the tables, views and functions that can't be proven harmless.
    :ivar unseen: privileges that the account would need to read their definitions.
    :ivar all_writes: whether each write may run triggers that the account can't see.
    :ivar everything: whether nothing can be proven, as in a system schema.
    """

    suspects: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    all_writes: bool = False
    everything: bool = False

    @property
    def hidden(self) -> bool:
        """Whether the session has to be reset after most units of work."""
        return self.all_writes or self.everything

    def __str__(self) -> str:
        shown = ", ".join(self.suspects[:MAX_SHOWN])
        more = len(self.suspects) - MAX_SHOWN
        return f"{shown} and {more} more" if more > 0 else shown


@dataclass(frozen=True)
class Server:
    """What a server has answered on a connection of a database.

    :ivar name: the server's own host name and port: the same for all databases on it.
    :ivar account: the account on the server.
    :ivar variables: variables of the session.
    :ivar status: status counters of the whole server.
    :ivar cipher: the TLS cipher of the connection; empty: not encrypted.
    :ivar code: see :class:`Code`.
    """

    name: str
    account: str
    variables: Mapping[str, Any]
    status: Mapping[str, int]
    cipher: str
    code: Code

    def number(self, variable: str) -> int:
        return int(self.variables[variable])

    def count(self, counter: str) -> int:
        """A status counter; 0 if the server does not have it."""
        return self.status.get(counter, 0)


@dataclass(frozen=True)
class Database:
    """An entry of ``DATABASES``.

    :ivar is_ours: whether its ``ENGINE`` is one of pooldaemon's.
    :ivar config: the configuration of its pool; ``None``: not pooled, or the settings are wrong.
    :ivar server: what its server has answered; ``None``: it was not queried.
    """

    alias: str
    vendor: str
    settings: Mapping[str, Any]
    is_ours: bool = True
    config: PoolConfig | None = None
    server: Server | None = None

    @property
    def options(self) -> Mapping[str, Any]:
        options: Mapping[str, Any] = self.settings["OPTIONS"]
        return options

    @property
    def place(self) -> str:
        return f"DATABASES[{self.alias!r}]"

    @property
    def pool_place(self) -> str:
        return f"{self.place}['OPTIONS']['pool']"

    @property
    def cap(self) -> int | None:
        """The pool's cap in one process; ``None``: not pooled, or by a class without a cap."""
        if self.config is None or not self.config.is_fair:
            return None
        size: int = self.pool_setting("pool_size", DEFAULT_POOL_SIZE)
        return size + int(self.pool_setting("max_overflow", 0))

    def pool_setting(self, name: str, default: Any = None) -> Any:
        return dict(self.config.arguments).get(name, default) if self.config else default

    @property
    def address(self) -> tuple[str, str]:
        return self.settings["HOST"] or "localhost", str(self.settings["PORT"] or 3306)

    @property
    def is_remote(self) -> bool:
        host, _ = self.address
        local = host in {"localhost", "::1"} or host.startswith(("127.", "/"))
        return not local and "unix_socket" not in self.options

    def shares_pool_with(self, other: Database) -> bool:
        return all(self.settings[name] == other.settings[name] for name in SAME_POOL)


@dataclass(frozen=True)
class Processes:
    """Processes of one kind.

    :ivar name: their name in a message.
    :ivar count: how many there are.
    :ivar caps: caps of pools in each of them that override the settings, by database.
    :ivar reserve: connections of helper processes to each database.
    """

    name: str
    count: int
    caps: PerDatabase = field(default_factory=dict)
    reserve: int = 0

    def cap(self, database: Database) -> int:
        """The most connections of each of them to a database; 0: not known."""
        if database.config is None:
            return 0
        limit = of_database(self.caps, database.alias)
        return limit if limit is not None else database.cap or 0


@dataclass(frozen=True)
class PoolUse:
    """The statistics of the pools of the same name in all workers of a daemon.

    :ivar cap: the highest cap of one of them.
    :ivar cap_place: the setting or option that sets the cap.
    :ivar peak: the most sessions that one of them has had.
    :ivar threads: the threads of each worker.
    :ivar age: the age of the oldest worker, in seconds.
    :ivar oldest: the connection that has been held longest: for how many seconds, and by whom.
    """

    daemon: str
    name: str
    alias: str
    cap: int
    cap_place: str
    peak: int
    threads: int
    age: float
    counters: Mapping[str, int]
    discards: Mapping[str, int]
    wait: Histogram
    use: Histogram
    connect: Histogram
    oldest: tuple[float, str] = (0.0, "")
    paused: bool = False

    @property
    def where(self) -> str:
        return f"{self.daemon}, pool {self.name}"


@dataclass(frozen=True)
class Case:
    """Everything that the rules examine.

    :ivar processes: the processes that may open connections, as far as they are known.
    :ivar uses: the pools of running daemons.
    :ivar max_process: ``settings.POOLDAEMON["MAX_PROCESS_CONNECTIONS"]``.
    """

    databases: tuple[Database, ...] = ()
    processes: tuple[Processes, ...] = ()
    uses: tuple[PoolUse, ...] = ()
    max_process: int | None = None

    @property
    def pooled(self) -> Iterator[tuple[Database, PoolConfig]]:
        for database in self.databases:
            if database.config is not None:
                yield database, database.config

    @property
    def served(self) -> Iterator[tuple[Database, Server]]:
        """The databases whose servers have been queried."""
        for database in self.databases:
            if database.server is not None:
                yield database, database.server

    def database(self, alias: str) -> Database | None:
        return next((one for one in self.databases if one.alias == alias), None)


def read_databases() -> tuple[Database, ...]:
    """All databases in the settings. Opens no connections; errors are left to other checks."""
    return tuple(_read_databases())


def _read_databases() -> Iterator[Database]:
    for alias in connections:
        try:
            wrapper = connections[alias]
        except ImproperlyConfigured:
            continue
        check = getattr(wrapper, "check_pool_settings", None)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                config = check() if check else None
        except ImproperlyConfigured:
            config = None
        yield Database(alias, wrapper.vendor, wrapper.settings_dict, check is not None, config)


def read_max_process() -> int | None:
    """``MAX_PROCESS_CONNECTIONS``; ``None`` if it is missing or wrong."""
    try:
        return read_process_config().max_process_connections
    except ImproperlyConfigured:
        return None


def web_processes(count: int | None = None) -> Processes:
    """The processes that serve requests.

    :param count: default: the variable ``WEB_CONCURRENCY``, which gunicorn and uvicorn read, or 1.
    """
    if count is None:
        variable = os.environ.get("WEB_CONCURRENCY", "")
        count = int(variable) if variable.isdecimal() else 1
    return Processes("web", count)
