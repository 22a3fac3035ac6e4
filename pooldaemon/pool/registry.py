"""The pools of this process, found by the parameters of their connections.

Keyed on the resolved parameters, never on Django's alias: a pool opened for the production
database can't be found under the test database's name.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import is_dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pooldaemon.conf import PerDatabase, ProcessConfig, of_database, read_process_config
from pooldaemon.pool import fork_safety
from pooldaemon.pool.config import PoolConfig
from pooldaemon.pool.drivers.base import DriverDialect
from pooldaemon.pool.queue.lease import Lease
from pooldaemon.pool.queue.limiter import ConnectionLimiter
from pooldaemon.pool.tokens import TokenLock, clears_frames
from pooldaemon.pool.watchdog import watchdog
from pooldaemon.pool_commands import PoolCommand, StandingCommands
from pooldaemon.stats import PoolStats

if TYPE_CHECKING:
    from pooldaemon.pool.queue.pool import FairQueuePool
    from pooldaemon.pool.sqlalchemy_pools import SQLAlchemyPool


class ManagedPool:
    """One pool, with its dialect and what is known of its server.

    :param name: what messages call it; holds no secret.
    :ivar aliases: of the databases that use it.
    :ivar facts: answers of the server that hold for all its sessions; forgotten on close.
    :ivar borrow: takes a connection; raises :exc:`PoolTimeout` or what the driver raises.

    Thread-safe.
    """

    def __init__(
        self,
        name: str,
        config: PoolConfig,
        dialect: DriverDialect,
        limiter: ConnectionLimiter | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.dialect = dialect
        dialect.name = name
        if limiter is not None:
            dialect.limiter = limiter
            limiter.count(dialect)
        self.aliases: tuple[str, ...] = ()
        self.facts: dict[str, Any] = {}
        self._made = time.monotonic()
        arguments = dict(config.arguments)
        dialect.patience = arguments.get("timeout", dialect.patience)
        self._pool = _make_pool(name, config, dialect, arguments)
        self.borrow: Callable[[], Lease] = self._pool.borrow

    def __repr__(self) -> str:
        return f"<ManagedPool {self.name} {self.config.poolclass.__name__}>"

    @property
    def min_idle(self) -> int:
        """Connections to open with the first one."""
        return self._pool.min_idle

    @property
    def has_room(self) -> bool:
        """Whether a connection could be opened now without anybody waiting for it."""
        return self._pool.has_room

    @property
    def last_used(self) -> float:
        """When a connection was last borrowed or returned (monotonic clock)."""
        return max(self._made, self._pool.last_used)

    def close(self) -> None:
        """Close idle connections now and those in use when they are returned."""
        self.facts.clear()
        self._pool.dispose()
        watchdog.stop_if_unused()

    @property
    def retired(self) -> bool:
        """Another pool is to be used instead."""
        return self._pool.retired

    def retire(self) -> bool:
        """Close for good, unless a connection is in use or wanted; says whether it did."""
        return self._pool.retire()

    def stats(self) -> PoolStats:
        """What the pool is doing and has done."""
        return replace(self._pool.stats(), aliases=self.aliases)

    def carry_out(self, command: PoolCommand) -> None:
        """:raises TypeError: a pool of this class can't."""
        match command:
            case PoolCommand("pause"):
                self.pause()
                self.close()
            case PoolCommand("resume"):
                self.resume()
            case PoolCommand("reconnect"):
                self.close()
            case PoolCommand("resize", size=int(size)):
                self.resize(size)

    @property
    def paused(self) -> bool:
        return self._pool.paused

    def pause(self) -> None:
        """Lend nothing until :meth:`resume`; who comes waits, as long as its timeout allows.

        :raises TypeError: the pool is of a class that can't be paused.
        """
        self._pool.pause()

    def resume(self) -> None:
        """End a :meth:`pause`. Nothing to do in a pool that can't be paused."""
        self._pool.resume()

    def resize(self, pool_size: int, max_overflow: int = 0) -> None:
        """Change the cap; a smaller one holds as soon as enough connections are returned.

        :raises TypeError: the pool is of a class whose size can't be changed.
        """
        self._pool.resize(pool_size, max_overflow)


def _make_pool(
    name: str, config: PoolConfig, dialect: DriverDialect, arguments: Mapping[str, Any]
) -> FairQueuePool | SQLAlchemyPool:
    if config.is_fair:
        made: Any = config.poolclass
        pool: FairQueuePool
        pool = made(dialect.connect, dialect=dialect, logging_name=name, **arguments)
        return pool
    from pooldaemon.pool.sqlalchemy_pools import SQLAlchemyPool  # noqa: PLC0415 - see its config

    return SQLAlchemyPool(name, config.poolclass, dialect, arguments)


class PoolRegistry:
    """Pools by key. Thread-safe; a forked child begins with none, and with the same limits.

    Whoever changes something holds a turn, which an exception at whatever line gives up.
    """

    def __init__(self) -> None:
        self.session_opened: Callable[[Any, Any], object] = lambda wrapper, connection: None
        """Called for every session that a backend of ours has opened, in a pool or without: the
        wrapper that sets it up, and the driver's connection."""
        self._limits: PerDatabase = {}
        self._standing = StandingCommands()
        self._config: ProcessConfig | None = None
        self.epoch = 0
        """Changes when pools that were handed out are no longer to be used."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget every pool, as it is: in a forked child they are the parent's."""
        self._turns = TokenLock()
        self._pools: dict[Hashable, ManagedPool] = {}
        self._config = None
        self.epoch += 1

    @clears_frames
    def get(
        self,
        key: Hashable,
        config: PoolConfig,
        build: Callable[[PoolConfig, ConnectionLimiter], ManagedPool],
    ) -> ManagedPool:
        """The pool of *key*, made by *build* if there is none.

        :raises ImproperlyConfigured: the settings for all pools are wrong.
        """
        turn = self._turns.wait()
        pool = self._pools.get(key)
        if pool is not None and not pool.retired:
            return pool
        if self._config is None:
            self._config = read_process_config()
            self._limiter = ConnectionLimiter(self._config.max_process_connections)
        pool = build(config, self._limiter)
        self._pools[key] = pool
        surplus = len(self._pools) - self._config.max_pools
        del turn
        if surplus > 0:
            self._retire(surplus, keep=pool)
        return pool

    @clears_frames
    def introduce(self, pool: ManagedPool, alias: str) -> None:
        """Note that the database *alias* uses *pool*, and carry out its standing commands."""
        if alias in pool.aliases:
            return
        turn = self._turns.wait()
        pool.aliases = tuple(dict.fromkeys((*pool.aliases, alias)))
        standing = [
            command for command in self._standing if command.is_for(pool.name, pool.aliases)
        ]
        del turn
        for command in standing:
            _refusal(pool, command)  # reported when the command was sent

    @clears_frames
    def carry_out(self, command: PoolCommand) -> list[tuple[str, str | None]]:
        """Have the pools that *command* concerns carry it out, now and when they are opened later.

        :returns: for each pool its name, and why it can't carry the command out, or ``None``.
        """
        turn = self._turns.wait()
        self._standing.add(command)
        pools = [p for p in self._pools.values() if command.is_for(p.name, p.aliases)]
        del turn
        return [(pool.name, _refusal(pool, command)) for pool in pools]

    @clears_frames
    def _retire(self, surplus: int, keep: ManagedPool) -> None:
        """Close and forget so many of the pools that nobody uses, the longest unused first."""
        turn = self._turns.wait()
        pools = sorted(self._pools.items(), key=lambda item: item[1].last_used)
        del turn
        for key, pool in pools:
            if surplus > 0 and pool is not keep and pool.retire():
                surplus -= 1
                turn = self._turns.wait()
                if self._pools.get(key) is pool:
                    del self._pools[key]
                self.epoch += 1
                del turn

    @clears_frames
    def all(self) -> list[ManagedPool]:
        turn = self._turns.wait()
        pools = list(self._pools.values())
        del turn
        return pools

    def close_all(self) -> None:
        """Close every pool; each is opened anew by its next borrower."""
        for pool in self.all():
            pool.close()

    def forget_process_settings(self) -> None:
        """Read the settings for all pools again; the present ones are closed and forgotten."""
        self.limit(self._limits)
        self._config = None

    @clears_frames
    def forget_settings(self) -> None:
        """Let every wrapper read its settings again before its next borrow."""
        turn = self._turns.wait()
        self.epoch += 1
        del turn

    def limited(self, alias: str, config: PoolConfig) -> PoolConfig:
        """*config*, the settings of this database, within its limit if there is one."""
        limit = of_database(self._limits, alias)
        return config if limit is None else config.limited_to(limit)

    @clears_frames
    def limit(self, limits: PerDatabase) -> None:
        """Give the databases' pools hard caps, whatever settings say. Closes those there are."""
        self.close_all()
        for pool in self.all():
            pool.dialect.stop_watching()
        turn = self._turns.wait()
        self._limits = limits
        self._pools.clear()
        self.epoch += 1
        del turn


def _refusal(pool: ManagedPool, command: PoolCommand) -> str | None:
    try:
        pool.carry_out(command)
    except TypeError as error:
        return str(error)
    return None


registry = PoolRegistry()
fork_safety.at_start_of_child(registry.begin_anew)


def _say_goodbye() -> None:
    """Or the server counts aborted clients. A forked child closes what it has opened itself."""
    fork_safety.check()
    registry.close_all()


atexit.register(_say_goodbye)


class PoolKey:
    """Connection parameters as a key that can be compared and does not show its secrets."""

    __slots__ = ("_frozen", "_hash")

    def __init__(self, *parts: Any) -> None:
        self._frozen = _freeze(parts)
        self._hash = hash(self._frozen)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PoolKey) and self._frozen == other._frozen

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"<PoolKey {self._hash & 0xFFFFFFFF:08x}>"


def _freeze(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        frozen = [(repr(key), _freeze(item)) for key, item in value.items()]
        return tuple(sorted(frozen, key=itemgetter(0)))  # what they hold need not have an order
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value), _freeze(vars(value)))
    try:
        hash(value)
    except TypeError:
        return (type(value), id(value))
    return (type(value), value)
