"""What the queue asks of a driver. :mod:`pooldaemon.pool.drivers` has the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pooldaemon.pool.queue.lease import Lease
from pooldaemon.pool.queue.limiter import ConnectionLimiter, Reserve
from pooldaemon.pool.tokens import Token


class Session:
    """One session on the server, from before it is opened until the server has ended it."""

    __slots__ = ("__weakref__", "connection", "permit")

    def __init__(self, permit: Token) -> None:
        self.permit: Token | None = permit
        self.connection: Any = None


class Driver(Protocol):
    """One object per pool, used by all its threads; it counts the pool's sessions.

    :class:`~pooldaemon.pool.drivers.base.DriverDialect` says what each name means.
    """

    lease_class: type[Lease]
    cap: int | None
    limiter: ConnectionLimiter
    reserve: Reserve | None

    @property
    def open_sessions(self) -> int: ...
    @property
    def peak_sessions(self) -> int: ...
    def close_session(self, session: Any) -> None: ...
    def forget_ended(self) -> None: ...
    def is_alive(self, connection: Any, idle: float) -> bool: ...
    def reset(self, connection: Any) -> bool: ...
    def upkeep(self, connection: Any, now: float) -> Callable[[Any], bool] | None: ...
    def last_statement(self, connection: Any) -> str: ...
