"""SQLAlchemy's own pool classes, with what is asked of ours."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, NoReturn

import sqlalchemy.exc
import sqlalchemy.pool

from pooldaemon.exceptions import PoolError, PoolRetired, PoolTimeout
from pooldaemon.pool.drivers.base import DriverDialect
from pooldaemon.pool.queue.lease import Lease
from pooldaemon.stats import PoolStats


class SQLAlchemyPool:
    """A pool of one of SQLAlchemy's classes. It can't be paused or resized. Thread-safe.

    :param name: the pool's, for messages.
    :param arguments: of its class.
    """

    has_room = paused = False
    min_idle = 0

    def __init__(
        self,
        name: str,
        poolclass: type[sqlalchemy.pool.Pool],
        dialect: DriverDialect,
        arguments: Mapping[str, Any],
    ) -> None:
        self._name = name
        self._dialect = dialect
        self.last_used = float("-inf")
        """When a connection was last lent (monotonic clock)."""
        self.retired = False
        # reset_on_return calls the dialect's do_rollback(), which is our reset.
        self._pool = poolclass(
            dialect.connect,  # type: ignore[arg-type]
            dialect=dialect,  # type: ignore[arg-type]  # it is asked only for what a pool needs
            reset_on_return="rollback",
            **{"logging_name": name, "pre_ping": True, **arguments},
        )

    def borrow(self) -> Lease:
        """
        :raises PoolTimeout: no connection became free in time.
        :raises PoolRetired: another pool is to be used instead.
        :raises PoolError: what an ``AssertionPool`` is for.
        """
        started = self.last_used = time.monotonic()
        if self.retired:
            raise PoolRetired(self._name)
        pool = self._pool
        try:
            proxy = pool.connect()
        except sqlalchemy.exc.TimeoutError as error:
            waited = time.monotonic() - started
            raise PoolTimeout(f"pool {self._name}: {error.args[0]}", waited) from error
        except AssertionError as error:  # AssertionPool, whose purpose this is
            raise PoolError(f"pool {self._name}: {error}") from error
        return self._dialect.lease_class(proxy.dbapi_connection, _ProxyLender(self, pool, proxy))

    def dispose(self) -> None:
        """Close idle connections now, and those in use when they are returned."""
        # When disposed of with connections out, SQLAlchemy's pools miscount, or close what is in
        # use.
        old, self._pool = self._pool, self._pool.recreate()
        _close_idle(old)

    def close_if_replaced(self, pool: sqlalchemy.pool.Pool) -> None:
        """A connection was returned to *pool*; :meth:`dispose` may have replaced it meanwhile."""
        if pool is not self._pool:
            _close_idle(pool)

    def retire(self) -> bool:
        """Close for good, unless a connection is in use; says whether it did."""
        if not any(lender.pool is self for lender in _ProxyLender.lent.copy()):
            self.retired = True
            self.dispose()
        return self.retired

    def stats(self) -> PoolStats:
        return PoolStats(
            name=self._name,
            poolclass=type(self._pool).__name__,
            cap=None,
            total=self._dialect.open_sessions,
            peak=self._dialect.peak_sessions,
            connects=self._dialect.opened,
        )

    def pause(self) -> None:
        """:raises TypeError: always."""
        self._refuse("paused")

    def resume(self) -> None:
        """It is never paused."""

    def resize(self, pool_size: int, max_overflow: int = 0) -> None:
        """:raises TypeError: always."""
        self._refuse("resized")

    def _refuse(self, done: str) -> NoReturn:
        raise TypeError(f"a {type(self._pool).__name__} can't be {done}")


def _close_idle(pool: sqlalchemy.pool.Pool) -> None:
    """Close the connections that nobody has borrowed."""
    if isinstance(pool, sqlalchemy.pool.SingletonThreadPool):
        for record in list(pool._all_conns):
            if not record.in_use:
                record.close()
    elif not (isinstance(pool, sqlalchemy.pool.AssertionPool) and pool._checked_out):
        pool.dispose()


class _ProxyLender:
    """A connection that one of SQLAlchemy's own pools has lent."""

    # Kept alive here: in a forked child SQLAlchemy's proxies may not die, since they would roll
    # back the parent's transactions (see pooldaemon.pool.fork_safety).
    lent: set[_ProxyLender] = set()

    affinity: None = None

    def __init__(
        self,
        pool: SQLAlchemyPool,
        source: sqlalchemy.pool.Pool,
        proxy: sqlalchemy.pool.PoolProxiedConnection,
    ) -> None:
        self.pool = pool
        self._source = source
        self.pid = os.getpid()
        self.info = proxy.info
        self._proxy = proxy
        self.lent.add(self)

    def share(self) -> None:
        """It belongs to no thread: the garbage collector returns what a thread leaves behind."""

    def return_connection(self) -> None:
        self.lent.discard(self)
        self._proxy.close()
        self.pool.close_if_replaced(self._source)

    def discard(self) -> None:
        self.lent.discard(self)
        self._proxy.invalidate()
