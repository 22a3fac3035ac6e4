"""The ways to a connection that are compared, behind one interface.

Every Django contender goes through the same Django code: a cursor of its own wrapper, and at
the end of a unit of work what Django itself calls at the end of a request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any, Protocol, TypeVar

import MySQLdb
from django.db import DEFAULT_DB_ALIAS, connections

from benchmarks.server import Target

PATIENCE = 120
"""Seconds a borrower waits, in every pool: starved threads are to be seen waiting, not failing."""

RAW = "mysqlclient, kept"
PERSISTENT = "Django, persistent"
PER_REQUEST = "Django, per request"
OTHER_POOL = "django-db-connection-pool"
QUEUE_POOL = "pooldaemon, QueuePool"
OURS = "pooldaemon"
BY_TRANSACTION = "pooldaemon, transaction mode"

_numbers = count(1)


class Contender(Protocol):
    """One way to a connection; used by many threads at once."""

    label: str

    def borrow(self) -> object:
        """Get hold of a connection."""

    def query(self, statement: str) -> Any:
        """Run a statement, on a connection borrowed if there is none; its first row."""

    def done(self) -> object:
        """End the unit of work."""

    def leave_thread(self) -> object:
        """Let go of what this thread holds."""

    def close(self) -> object:
        """End all connections; the contender is not used again."""


C = TypeVar("C", bound=Contender)


class RawContender:
    """The driver alone, one connection per thread: the floor."""

    label = RAW

    def __init__(self, target: Target) -> None:
        self._arguments = target.driver_arguments()
        self._local = threading.local()

    def borrow(self) -> Any:
        try:
            return self._local.connection
        except AttributeError:
            self._local.connection = MySQLdb.connect(**self._arguments, autocommit=True)
            return self._local.connection

    def query(self, statement: str) -> Any:
        with self.borrow().cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()

    def done(self) -> None:
        """It is kept."""

    def leave_thread(self) -> None:
        self.borrow().close()
        del self._local.connection

    close = leave_thread


class DjangoContender:
    """A database of Django's, under an alias of its own.

    :param close_pool: what ends the connections that no thread holds; given the alias.
    """

    def __init__(
        self,
        label: str,
        settings: dict[str, Any],
        close_pool: Callable[[str], object] = lambda alias: None,
    ) -> None:
        self.label = label
        self.alias = f"bench-{next(_numbers)}"
        self._close_pool = close_pool
        complete = connections.configure_settings({DEFAULT_DB_ALIAS: {}, self.alias: settings})
        connections.settings[self.alias] = complete[self.alias]

    def borrow(self) -> None:
        connections[self.alias].ensure_connection()

    def query(self, statement: str) -> Any:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()

    def done(self) -> None:
        connections[self.alias].close_if_unusable_or_obsolete()

    def leave_thread(self) -> None:
        connections[self.alias].close()

    def close(self) -> None:
        self.leave_thread()
        self._close_pool(self.alias)
        del connections[self.alias]
        del connections.settings[self.alias]


def raw(target: Target) -> RawContender:
    return RawContender(target)


def persistent(target: Target, **options: Any) -> DjangoContender:
    return DjangoContender(PERSISTENT, _persistent_settings(target, options))


def per_request(target: Target, **options: Any) -> DjangoContender:
    return DjangoContender(PER_REQUEST, _settings(target, options))


def other_pool(target: Target, size: int, **options: Any) -> DjangoContender:
    settings = _other_pool_settings(target, size, options)
    return DjangoContender(OTHER_POOL, settings, _close_other_pool)


def queue_pool(target: Target, size: int, **options: Any) -> DjangoContender:
    pool = {"poolclass": "QueuePool", "pool_size": size, "max_overflow": 0, "timeout": PATIENCE}
    return DjangoContender(QUEUE_POOL, _pooled_settings(target, pool, options), _close_our_pool)


def ours(target: Target, size: int, **options: Any) -> DjangoContender:
    return DjangoContender(OURS, _our_settings(target, size, options), _close_our_pool)


def by_transaction(target: Target, size: int, **options: Any) -> DjangoContender:
    settings = _by_transaction_settings(target, size, options)
    return DjangoContender(BY_TRANSACTION, settings, _close_our_pool)


def field(target: Target, size: int, **options: Any) -> list[DjangoContender]:
    """Django's own two ways and the three pools, each of *size* connections."""
    return [
        persistent(target, **options),
        per_request(target, **options),
        other_pool(target, size, **options),
        queue_pool(target, size, **options),
        ours(target, size, **options),
    ]


def project_settings(target: Target, size: int) -> dict[str, dict[str, Any]]:
    """By label, the database that a project of its own process would have; pools of *size*."""
    return {
        PERSISTENT: _persistent_settings(target, {}),
        PER_REQUEST: _settings(target, {}),
        OTHER_POOL: _other_pool_settings(target, size, {}),
        OURS: _our_settings(target, size, {}),
        BY_TRANSACTION: _by_transaction_settings(target, size, {}),
    }


@contextmanager
def opened(contenders: Iterable[C], notes: list[str]) -> Iterator[list[C]]:
    """Those that run here, closed at the end. Somebody else's that does not run is noted."""
    with ExitStack() as stack:
        running = []
        for contender in contenders:
            try:
                contender.query("SELECT 1")
            except Exception as error:
                if contender.label != OTHER_POOL:
                    raise
                notes.append(f"{OTHER_POOL} does not run here: {type(error).__name__}: {error}")
                continue
            contender.done()
            stack.callback(contender.close)
            running.append(contender)
        yield running


def _settings(target: Target, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.mysql",
        "OPTIONS": dict(options),
        **target.django_settings(),
    }


def _persistent_settings(target: Target, options: dict[str, Any]) -> dict[str, Any]:
    return _settings(target, options) | {"CONN_MAX_AGE": None}


def _other_pool_settings(target: Target, size: int, options: dict[str, Any]) -> dict[str, Any]:
    return _settings(target, options) | {
        "ENGINE": "dj_db_conn_pool.backends.mysql",
        "POOL_OPTIONS": {"POOL_SIZE": size, "MAX_OVERFLOW": 0, "TIMEOUT": PATIENCE},
    }


def _our_settings(target: Target, size: int, options: dict[str, Any]) -> dict[str, Any]:
    return _pooled_settings(target, {"pool_size": size, "timeout": PATIENCE}, options)


def _by_transaction_settings(target: Target, size: int, options: dict[str, Any]) -> dict[str, Any]:
    pool = {"mode": "transaction", "pool_size": size, "timeout": PATIENCE}
    return _pooled_settings(target, pool, options)


def _pooled_settings(
    target: Target, pool: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    return _settings(target, options | {"pool": pool}) | {"ENGINE": "pooldaemon.backends.mysql"}


def _close_our_pool(alias: str) -> None:
    wrapper: Any = connections[alias]
    wrapper.pool.close()


def _close_other_pool(alias: str) -> None:
    from dj_db_conn_pool.core import pool_container  # noqa: PLC0415 - it may not be installable

    pool_container.pop(alias).dispose()
