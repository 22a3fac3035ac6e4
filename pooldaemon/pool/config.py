"""Reads the pool settings of a database, ``OPTIONS["pool"]``, into a :class:`PoolConfig`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pooldaemon.conf import (
    DEFAULT_POOL_SIZE,
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

if TYPE_CHECKING:
    import sqlalchemy.pool

# SQLAlchemy takes longer to import than the rest of this package. A command that opens no pool does
# not need it, so it is imported when the first pool is made, or for another class than the default.

DEFAULT_POOL = "FairQueuePool"

NAMED_POOLS = (DEFAULT_POOL, "QueuePool", "NullPool", "SingletonThreadPool", "AssertionPool")
"""Ours and SQLAlchemy's, by their names."""

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
    """How one pool is built. Immutable; pools of equal configurations are interchangeable.

    :ivar other_class: the pool's class, if it is not the default one.
    """

    other_class: type[sqlalchemy.pool.Pool] | None
    arguments: tuple[tuple[str, Any], ...]
    mode: str = "session"
    reset: str = "dirty"
    hidden_code: str = "prove"
    ping_after: float = 30.0
    password_provider: PasswordProvider | None = None

    @property
    def poolclass(self) -> type[sqlalchemy.pool.Pool]:
        return self.other_class or resolve_poolclass(DEFAULT_POOL)

    @property
    def is_fair(self) -> bool:
        """Whether the class is :class:`FairQueuePool` or derived from it."""
        return self.other_class is None or _is_fair(self.other_class)

    def limited_to(self, connections: int) -> PoolConfig:
        """The same with a hard cap of *connections*.

        A class whose cap can't be set gives way to :class:`FairQueuePool`: a limit from the
        command line has to hold whatever the settings say.
        """
        other, arguments = self.other_class, dict(self.arguments)
        if other is not None and issubclass(other, resolve_poolclass("AssertionPool")):
            return self  # never more than one
        if other is not None and not {"pool_size", "max_overflow"} <= accepted_arguments(other):
            other, arguments = None, dict(FAIR_DEFAULTS)
        arguments |= {"pool_size": connections, "max_overflow": 0}
        return replace(self, other_class=other, arguments=tuple(sorted(arguments.items())))


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
    place, wanted = given.pop("poolclass", (where, DEFAULT_POOL))
    other = None if wanted == DEFAULT_POOL else _resolve(place, resolve_poolclass, wanted)
    provider = None
    if "password_provider" in given:
        place, wanted = given.pop("password_provider")
        provider = _resolve(place, PasswordProvider.resolve, wanted)
    _check(other, given)
    values = {key: value for key, (_, value) in given.items()}
    session = {key: values.pop(key) for key in SESSION_RULES if key in values}
    if other is None or _is_fair(other):
        values = FAIR_DEFAULTS | values
    return PoolConfig(other, tuple(sorted(values.items())), **session, password_provider=provider)


def _resolve(place: str, resolve: Callable[[Any], Any], wanted: Any) -> Any:
    try:
        return resolve(wanted)
    except ValueError as error:
        raise ImproperlyConfigured(f"{place}: {error}.") from None


def _is_fair(poolclass: type[Any]) -> bool:
    return issubclass(poolclass, resolve_poolclass(DEFAULT_POOL))


def _check(poolclass: type[Any] | None, given: dict[str, tuple[str, Any]]) -> None:
    if poolclass is None or _is_fair(poolclass):
        rules = SESSION_RULES | FAIR_RULES
        valid = set(rules)
    else:
        rules = SESSION_RULES | SQLALCHEMY_RULES
        valid = set(SESSION_RULES) | accepted_arguments(poolclass)
    for key, (place, value) in given.items():
        if key not in valid:
            raise ImproperlyConfigured(
                f"{place} is not a setting of {poolclass.__name__ if poolclass else DEFAULT_POOL}."
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
    import sqlalchemy.pool  # noqa: PLC0415 - see above

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
    if name not in NAMED_POOLS and name not in REFUSED_POOLS:
        raise ValueError(
            f"there is no pool class {name!r}.{nearest(name, NAMED_POOLS)} "
            f"Valid: {', '.join(NAMED_POOLS)}, or a dotted path"
        )
    module = "pooldaemon.pool.queue.pool" if name == DEFAULT_POOL else "sqlalchemy.pool"
    return import_path(f"{module}.{name}")
