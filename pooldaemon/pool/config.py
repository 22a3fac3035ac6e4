"""Reads the pool settings of a database, ``OPTIONS["pool"]``, into a :class:`PoolConfig`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy.pool

from pooldaemon.conf import (
    MAX_CONNECTIONS,
    MAX_SECONDS,
    Choice,
    Number,
    check_value,
    import_path,
    nearest,
)
from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.pool.drivers.provider import PasswordProvider
from pooldaemon.pool.queue.pool import DEFAULT_POOL_SIZE, FairQueuePool

NAMED_POOLS = {
    "FairQueuePool": FairQueuePool,
    "QueuePool": sqlalchemy.pool.QueuePool,
    "NullPool": sqlalchemy.pool.NullPool,
    "SingletonThreadPool": sqlalchemy.pool.SingletonThreadPool,
    "AssertionPool": sqlalchemy.pool.AssertionPool,
}

REFUSED_POOLS = {
    "StaticPool": "it is one connection for all threads",
    "AsyncAdaptedQueuePool": "it is for asyncio drivers, which Django's are not",
}

RESOLVED = ("poolclass", "password_provider")
"""Keys whose values are objects, or name them."""

Rules = dict[str, Number | Choice]

SESSION_RULES: Rules = {
    "mode": Choice(("session", "transaction")),
    "reset": Choice(("dirty", "always", "never")),
    "hidden_code": Choice(("prove", "harmless")),
    "ping_after": Number(0, MAX_SECONDS),
}
"""Keys for every class of pool: they are about sessions, not about queueing."""

FAIR_RULES: Rules = {
    "pool_size": Number(1, MAX_CONNECTIONS, whole=True),
    "max_overflow": Number(0, MAX_CONNECTIONS, whole=True),
    "timeout": Number(0, MAX_SECONDS),
    "recycle": Number(1, MAX_SECONDS, also=(-1,)),
    "use_lifo": Choice((True, False)),
    "max_waiting": Number(0, 1_000_000, whole=True, also=(None,)),
    "max_idle": Number(1, MAX_SECONDS, also=(-1,)),
    "min_idle": Number(0, MAX_CONNECTIONS, whole=True),
    "leak_threshold": Number(0.1, MAX_SECONDS, also=(None,)),
}

FAIR_DEFAULTS: dict[str, Any] = {"recycle": 1800.0, "max_idle": 600.0}
"""In seconds. The lifetime is HikariCP's; both stay far below MySQL's ``wait_timeout`` (8 h)."""

SQLALCHEMY_RULES: Rules = {
    "pool_size": Number(0, MAX_CONNECTIONS, whole=True),
    "max_overflow": Number(-1, MAX_CONNECTIONS, whole=True),
    "timeout": Number(0, MAX_SECONDS),
    "recycle": Number(0, MAX_SECONDS, also=(-1,)),
    "use_lifo": Choice((True, False)),
}
"""SQLAlchemy's own meaning of these; what is not named here is for the class to judge."""

OUR_ARGUMENTS = {"self", "creator", "dialect", "_dispatch", "reset_on_return", "events"}
"""Arguments of SQLAlchemy's pools that the backend sets (``reset`` says what to reset)."""


@dataclass(frozen=True)
class PoolConfig:
    """How one pool is built. Immutable; pools of equal configurations are interchangeable."""

    poolclass: type[sqlalchemy.pool.Pool]
    arguments: tuple[tuple[str, Any], ...]
    mode: str = "session"
    reset: str = "dirty"
    hidden_code: str = "prove"
    ping_after: float = 30.0
    password_provider: PasswordProvider | None = None

    def limited_to(self, connections: int) -> PoolConfig:
        """The same with a hard cap of *connections*.

        A class whose cap can't be set gives way to :class:`FairQueuePool`: a limit from the
        command line has to hold whatever the settings say.
        """
        if issubclass(self.poolclass, sqlalchemy.pool.AssertionPool):
            return self  # never more than one
        poolclass, arguments = self.poolclass, dict(self.arguments)
        if not {"pool_size", "max_overflow"} <= accepted_arguments(poolclass):
            poolclass, arguments = FairQueuePool, dict(FAIR_DEFAULTS)
        arguments |= {"pool_size": connections, "max_overflow": 0}
        return replace(self, poolclass=poolclass, arguments=tuple(sorted(arguments.items())))


def read_pool_config(
    alias: str, options: Any, historic: Mapping[str, tuple[str, Any]] | None = None
) -> PoolConfig | None:
    """Read one database's pool settings.

    :param alias: the database, for messages.
    :param options: ``OPTIONS["pool"]``: a dict, or ``True`` or ``None`` for the defaults, or
        ``False`` for no pool.
    :param historic: arguments from other settings, as (place, value): defaults under *options*.
    :returns: ``None`` for no pool.
    :raises ImproperlyConfigured: naming the key, what was given and what is valid.
    """
    where = f"DATABASES[{alias!r}]['OPTIONS']['pool']"
    if options is False:
        return None
    if options is None or options is True:
        options = {}
    if not isinstance(options, Mapping):
        raise ImproperlyConfigured(f"{where} is {options!r}; it must be a dict, True or False.")
    given = dict(historic or {})
    given |= {key: (f"{where}[{key!r}]", value) for key, value in options.items()}
    place, wanted = given.pop("poolclass", (where, FairQueuePool))
    poolclass = _resolve(place, resolve_poolclass, wanted)
    provider = None
    if "password_provider" in given:
        place, wanted = given.pop("password_provider")
        provider = _resolve(place, PasswordProvider.resolve, wanted)
    _check(poolclass, given)
    values = {key: value for key, (_, value) in given.items()}
    session = {key: values.pop(key) for key in SESSION_RULES if key in values}
    if issubclass(poolclass, FairQueuePool):
        values = FAIR_DEFAULTS | values
    return PoolConfig(
        poolclass, tuple(sorted(values.items())), **session, password_provider=provider
    )


def _resolve(place: str, resolve: Callable[[Any], Any], wanted: Any) -> Any:
    try:
        return resolve(wanted)
    except ValueError as error:
        raise ImproperlyConfigured(f"{place}: {error}.") from None


def _check(poolclass: type[Any], given: dict[str, tuple[str, Any]]) -> None:
    if issubclass(poolclass, FairQueuePool):
        rules = SESSION_RULES | FAIR_RULES
        valid = set(rules)
    else:
        rules = SESSION_RULES | SQLALCHEMY_RULES
        valid = set(SESSION_RULES) | accepted_arguments(poolclass)
    for key, (place, value) in given.items():
        if key not in valid:
            raise ImproperlyConfigured(
                f"{place} is not a setting of {poolclass.__name__}."
                f"{nearest(str(key), valid.union(RESOLVED))}"
                f" Valid: {', '.join([*RESOLVED, *sorted(valid)])}."
            )
        if key in rules:
            check_value(place, rules[key], value)
    mode_place, mode = given.get("mode", ("", "session"))
    _, reset = given.get("reset", ("", "dirty"))
    if mode == "transaction" and reset == "always":
        raise ImproperlyConfigured(
            f"{mode_place} is 'transaction', but 'reset' is 'always': no session would be known to "
            "be clean, and none could be returned before the unit of work ends. Use 'dirty'."
        )
    place, min_idle = given.get("min_idle", ("", 0))
    _, pool_size = given.get("pool_size", ("", DEFAULT_POOL_SIZE))
    if min_idle > pool_size:
        raise ImproperlyConfigured(
            f"{place} is {min_idle!r}; it must be at most pool_size, which is {pool_size}."
        )


def accepted_arguments(poolclass: type[Any]) -> set[str]:
    """The keyword arguments that *poolclass* takes, its bases' where it passes them on."""
    names: set[str] = set()
    for base in poolclass.__mro__:
        if (init := base.__dict__.get("__init__")) is None:
            continue
        parameters = inspect.signature(init).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - OUR_ARGUMENTS


def resolve_poolclass(wanted: Any) -> type[sqlalchemy.pool.Pool]:
    """The class for one of SQLAlchemy's names, a dotted path, or a class.

    :raises ValueError: there is no such class, or it can't serve several threads.
    """
    poolclass = _find_poolclass(wanted) if isinstance(wanted, str) else wanted
    if not (isinstance(poolclass, type) and issubclass(poolclass, sqlalchemy.pool.Pool)):
        raise ValueError(f"{wanted!r} is not a class of SQLAlchemy pool")
    for name, reason in REFUSED_POOLS.items():
        if issubclass(poolclass, getattr(sqlalchemy.pool, name)):
            raise ValueError(f"{name} can't be used: {reason}")
    return poolclass


def _find_poolclass(name: str) -> Any:
    if "." in name:
        return import_path(name)
    if name in REFUSED_POOLS:
        return getattr(sqlalchemy.pool, name)
    if name not in NAMED_POOLS:
        raise ValueError(
            f"there is no pool class {name!r}.{nearest(name, NAMED_POOLS)} "
            f"Valid: {', '.join(NAMED_POOLS)}, or a dotted path"
        )
    return NAMED_POOLS[name]
