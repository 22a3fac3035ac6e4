"""Every error this project raises by a name of its own.

Pool errors are ``django.db.OperationalError``, so that handlers written for a database that
refuses a connection also see a pool that does.
"""

from __future__ import annotations

from django.core import exceptions
from django.core.management.base import CommandError
from django.db.utils import OperationalError, ProgrammingError

from pooldaemon.stats import PoolStats


class ImproperlyConfigured(exceptions.ImproperlyConfigured, CommandError):
    """A setting of ours is wrong. Django's error, which a management command tells in one line."""


class PoolError(OperationalError):
    """Base of the errors that a pool raises."""


class PoolTimeout(PoolError):
    """No connection became free within the pool's ``timeout``.

    :ivar waited: seconds.
    :ivar stats: the pool at that moment, a :class:`~pooldaemon.stats.PoolStats`: total, in
        use, idle, waiting, cap and holders. ``None`` for SQLAlchemy's own classes of pool.
    :ivar last_connect_error: the last error of opening a connection, also the ``__cause__``.
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
    """Waiting could never end: those who hold the connections all wait for one, as this thread
    would. Raised at once, instead of after the pool's ``timeout``.

    So it is with a thread that borrows a second connection from a pool of one, through another
    alias with the same parameters.
    """


class TooManyWaiters(PoolError):
    """The pool's queue already holds ``max_waiting`` threads: shed the load now."""


class EarlierStatementError(ProgrammingError):
    """Transaction mode: a statement asks about an earlier one that may have run on another session.

    It was not sent. Run both inside ``atomic()`` or ``connection.pinned()``.
    """


class PasswordProviderError(PoolError):
    """A ``password_provider`` raised, did not answer in time, or returned what is no password.

    The message names the provider and the pool. Its ``__cause__`` is what the provider raised, if
    anything.
    """


class PoolRetired(PoolError):
    """The pool was closed to keep to ``MAX_POOLS``. The backend then looks for another one."""

    def __init__(self, pool: str) -> None:
        super().__init__(f"pool {pool}: closed to keep to MAX_POOLS")


class PoolWaitCancelled(PoolError):
    """The client of the request that waited for a connection has gone away."""
