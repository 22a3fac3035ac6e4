"""All exception classes of this package that users may want to catch.

Pool errors are ``django.db.OperationalError``, so that code that handles a database without free
connections handles a pool without free connections as well.
"""

from __future__ import annotations

from django.core import exceptions
from django.core.management.base import CommandError
from django.db.utils import OperationalError, ProgrammingError

from pooldaemon.stats import PoolStats


class ImproperlyConfigured(exceptions.ImproperlyConfigured, CommandError):
    """A setting of this package is wrong. Also a ``CommandError``: commands print one line."""


class PoolError(OperationalError):
    """Base class of the errors that a pool raises."""


class PoolTimeout(PoolError):
    """No connection became free within the pool's ``timeout``.

    :ivar waited: for how many seconds the thread has waited.
    :ivar stats: the pool at that moment, a :class:`~pooldaemon.stats.PoolStats`: total, in
        use, idle, waiting, cap and holders. ``None`` for SQLAlchemy's own pool classes.
    :ivar last_connect_error: the error of the last attempt to open a connection, also the
        ``__cause__``; ``None`` if it succeeded.
    """

    def __init__(
        self,
        message: str,
        waited: float,
        stats: PoolStats | None = None,
        last_connect_error: BaseException | None = None,
    ) -> None:
        super().__init__(message)
        self.waited = waited
        self.stats = stats
        self.last_connect_error = last_connect_error
        self.__cause__ = last_connect_error


class PoolDeadlock(PoolTimeout):
    """All threads that hold the pool's connections wait for another one, as this thread would.

    Raised at once, not after the pool's ``timeout``. Example: a thread that holds the only
    connection of a pool borrows from it again, by another alias with the same parameters.
    """


class TooManyWaiters(PoolError):
    """``max_waiting`` threads are waiting for a connection of the pool already. Raised at once."""


class EarlierStatementError(ProgrammingError):
    """Transaction mode: a statement asks about an earlier one, such as by ``LAST_INSERT_ID()``,
    that may have run in another session.

    It has not been sent. Run both statements inside ``atomic()`` or ``connection.pinned()``.
    """


class PasswordProviderError(PoolError):
    """A ``password_provider`` has raised, has not returned in time, or has returned no password.

    The message names the provider and the pool. The ``__cause__`` is the exception that the
    provider has raised, if any.
    """


class PoolRetired(PoolError):
    """The pool was closed because of ``MAX_POOLS``. The backend then opens another one."""

    def __init__(self, pool: str) -> None:
        super().__init__(f"pool {pool}: closed, since there are more pools than MAX_POOLS")


class PoolWaitCancelled(PoolError):
    """The request that waited for a connection was cancelled, since its client has disconnected."""
