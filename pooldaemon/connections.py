"""What other code may do with pools: return connections, close pools, limit and control them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any, TypeVar, overload

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.signals import connection_created

from pooldaemon.conf import PerDatabase
from pooldaemon.pool.registry import registry
from pooldaemon.pool.tokens import Token
from pooldaemon.pool_commands import PoolCommand
from pooldaemon.stats import PoolStats

logger = logging.getLogger("pooldaemon.connections")

F = TypeVar("F", bound=Callable[..., Any])


class _Thread(threading.local):
    """The units of work that this thread is in."""

    def __init__(self) -> None:
        self.units: set[weakref.ref[Token]] = set()
        self.since = 0.0
        """When the outermost one began, in seconds of the monotonic clock."""


_thread = _Thread()


def return_connections(begun: float = float("inf"), *, again: bool = False) -> None:
    """Return every connection of this thread that is not inside an ``atomic()``.

    A connection that was borrowed after *begun* and is inside an ``atomic()`` has been left in it
    by the unit of work: nothing would ever commit. So it is closed, which rolls back, and queries
    raise ``TransactionManagementError`` until the block ends.

    An error with one connection is logged, and the others are returned all the same. Thread-safe:
    it uses this thread's connections only.

    :param begun: seconds of the monotonic clock. Default: leave all ``atomic()`` blocks alone.
    :param again: whether an earlier call was interrupted by an exception.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            if connection.closed_in_transaction or not _is_borrowed_after(connection, begun):
                continue
            logger.error(
                "A unit of work has left an atomic() of the database %r open; it is rolled back.",
                connection.alias,
            )
        try:
            connection.close()
            if again and (close_remains := getattr(connection, "close_remains", None)) is not None:
                close_remains()
        except Exception:
            logger.warning(
                "Returning the connection of the database %r failed.",
                connection.alias,
                exc_info=True,
            )


def _is_borrowed_after(connection: Any, begun: float) -> bool:
    since = getattr(connection, "borrowed_since", None)
    return since is not None and since >= begun


class UnitOfWork:
    """The context manager that ``auto_close_db()`` returns, for ``with`` and ``async with``.

    Exceptions of signal handlers may be raised at any line (Ctrl-C, a time limit). So a thread is
    in a unit as long as a token lives to which only this object refers, and ending a unit twice
    does no harm.
    """

    def __init__(self) -> None:
        self._begun: list[tuple[set[weakref.ref[Token]], Token]] = []

    def __del__(self) -> None:
        # An exception has interrupted its beginning, or its end before that did anything.
        if getattr(self, "_begun", None):
            self.end()

    def begin(self) -> None:
        units, unit = _thread.units, Token()
        if not units:
            _thread.since = time.monotonic()
        try:
            units.add(weakref.ref(unit, units.discard))
            self._begun.append((units, unit))
        except BaseException:
            self._begun.clear()
            del unit
            raise

    def end(self) -> None:
        """End the unit. A second call does nothing."""
        try:
            self._end()
        except BaseException:  # of a signal handler: end the unit before it propagates
            self._end(again=True)
            raise

    def _end(self, *, again: bool = False) -> None:
        # The garbage collector may end an abandoned generator in another thread, whose own units
        # and connections must be left alone.
        if self._begun and self._leave() is _thread.units and not _thread.units:
            return_connections(_thread.since, again=again)
        del self._begun[-1:]

    def _end_async(self) -> None:
        # A task that outlives its request continues in another thread, and borrows there.
        if self._begun:
            self._leave()
        if not _thread.units:
            return_connections()
        del self._begun[-1:]

    def _leave(self) -> set[weakref.ref[Token]]:
        units, unit = self._begun[-1]
        units.discard(weakref.ref(unit))
        return units

    def __enter__(self) -> None:
        if in_event_loop():
            raise RuntimeError(
                "auto_close_db() in async code needs 'async with': Django's connections belong to "
                "the thread in which it runs synchronous code."
            )
        self.begin()

    def __exit__(self, *exc_info: object) -> None:
        self.end()

    async def __aenter__(self) -> None:
        try:
            await in_database_thread(self.begin)
        except asyncio.CancelledError:
            await in_database_thread(self._end_async)
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        await in_database_thread(self._end_async)


async def in_database_thread(function: Callable[[], None]) -> None:
    """Run *function* in the thread of Django's async ORM, which has its connections.

    It runs to its end even if the caller is cancelled: a unit that did not end would keep the
    thread's connections forever.
    """
    task = asyncio.ensure_future(sync_to_async(function)())
    cancelled = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()


@overload
def auto_close_db(function: F) -> F: ...
@overload
def auto_close_db() -> UnitOfWork: ...
def auto_close_db(function: Any = None) -> Any:
    """Return the thread's database connections to their pools when a unit of work ends.

    A decorator for plain, ``async`` and generator functions, and a context manager:
    ``with auto_close_db():``, in async code ``async with``::

        @auto_close_db
        def sync_inventory(): ...

    The connections are returned when the outermost unit of the thread ends. An exception that
    ends it propagates. A generator's unit ends when it is exhausted or closed. A connection inside
    an ``atomic()`` of the caller is not returned. If the unit itself has left an ``atomic()``
    open, its transaction is rolled back, and an error is logged.

    Database work of async units runs in the thread that ``sync_to_async`` uses. Units that use this
    thread at the same time count as nested.

    Thread-safe: each thread has its own units and connections.

    :param function: the function to wrap. Default: return a context manager.
    :raises TypeError: *function* is not callable.
    :raises RuntimeError: ``with`` instead of ``async with`` in a running event loop.
    """
    if function is None:
        return UnitOfWork()
    if not callable(function):
        raise TypeError(f"auto_close_db takes a function, not {function!r}")
    for wrap, is_kind in _WRAPPERS:
        if is_kind(function) or is_kind(function.__call__):  # of an object that can be called
            return wrap(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        unit = UnitOfWork()
        try:
            with unit:
                return function(*args, **kwargs)
        finally:  # an exception of a signal handler may have prevented __exit__()
            unit.end()

    return wrapper


def _wrap_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        async with UnitOfWork():
            return await function(*args, **kwargs)

    return wrapper


def _wrap_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        unit = UnitOfWork()
        unit.begin()
        try:
            return (yield from function(*args, **kwargs))
        finally:
            unit.end()

    return wrapper


def _wrap_async_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        async with UnitOfWork():
            generator = function(*args, **kwargs)
            try:
                # There is no "yield from" in async generators: pass on what is sent and thrown.
                value = await anext(generator)
                while True:
                    try:
                        sent = yield value
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - thrown into the generator
                        value = await generator.athrow(error)
                    else:
                        value = await generator.asend(sent)
            except StopAsyncIteration:
                return
            finally:
                await generator.aclose()

    return wrapper


_WRAPPERS = (
    (_wrap_async_generator, inspect.isasyncgenfunction),
    (_wrap_coroutine, inspect.iscoroutinefunction),
    (_wrap_generator, inspect.isgeneratorfunction),
)


def in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def close_pool(alias: str | None = None) -> None:
    """Close the pools of this process, for example before a fork.

    The calling thread's connections are returned first, except those inside an ``atomic()``.
    These and the connections that other threads hold are closed when they are returned. The next
    borrower opens a new pool. Thread-safe.

    :param alias: close only the pool of this database. Default: all pools.
    :raises django.utils.connection.ConnectionDoesNotExist: there is no such database.
    """
    if alias is None:
        return_connections()
        registry.close_all()
        return
    connection = connections[alias]
    if not connection.in_atomic_block:
        connection.close()
    if (pool := getattr(connection, "pool", None)) is not None:
        pool.close()


def limit_connections(limits: PerDatabase) -> None:
    """Set the caps of the pools of this process, overriding the settings.

    Closes all open pools. Meant for the start of a process.

    :param limits: caps in connections, 1 or more, by database alias; without one, the pool's
        settings apply.
    """
    return_connections()
    registry.limit(limits)


def unpooled_aliases() -> list[str]:
    """The aliases of databases that are not pooled by this package, to which no cap applies."""
    return [alias for alias in connections if getattr(connections[alias], "pool", None) is None]


def pool_stats() -> tuple[PoolStats, ...]:
    """The statistics of each open pool of this process. Thread-safe; does not delay borrowers."""
    return tuple(pool.stats() for pool in registry.all())


def control_pools(command: PoolCommand) -> list[tuple[str, str | None]]:
    """Pause, resume, reconnect or resize pools of this process.

    Pools that the process opens later are paused, resumed and resized as well. Thread-safe. Blocks
    until the server has ended the sessions of the idle connections that are closed.

    :returns: for each open pool concerned its name, and why it can't carry out the command, or
        ``None``.
    """
    return registry.carry_out(command)


def close_paused_pools() -> bool:
    """Close idle connections of the paused pools of this process; returns whether a pool is paused.

    A borrower that got a connection just before the pause may have opened it since then.
    """
    paused = [pool for pool in registry.all() if pool.paused]
    for pool in paused:
        pool.close()
    return bool(paused)


def suspects_found() -> Iterator[tuple[int, dict[str, Any], float]]:
    """What this process knows of its servers' triggers, views and functions with side effects: the
    arguments for :func:`believe_suspects` in other processes of the daemon."""
    for pool in registry.all():
        if (side_effects := pool.dialect.side_effects) is None:
            continue  # SQLite's, whose statements run no code of a server's
        suspects, asked = side_effects.answer
        if suspects is not None:
            yield pool.dialect.account, suspects.to_json(), asked


def believe_suspects(account: int, suspects: dict[str, Any], asked: float) -> None:
    """Use what another process has found out, in this process and those that it forks, instead of
    querying the server again."""
    from pooldaemon.pool.drivers.mysql.sql.side_effects import (  # noqa: PLC0415 - see preload()
        Answer,
        heard,
    )
    from pooldaemon.pool.drivers.mysql.sql.suspects import Suspects  # noqa: PLC0415

    heard[account] = Answer(Suspects.from_json(suspects), asked)


def preload() -> None:
    """Import what the first connection of each database needs.

    SQLAlchemy and what classifies statements take longer to import than everything else here, and a
    management command may never open a pool. So they are imported by the first connection. A server
    that loads the project and then forks should call this before, so that its processes share their
    memory (gunicorn's ``preload_app``). The daemon's supervisor does so by itself.

    :raises django.core.exceptions.ImproperlyConfigured: the pool settings of a database are wrong.
    """
    for alias in connections:
        load = getattr(connections[alias], "preload", None)
        if load is not None:
            load()


def is_paused(alias: str) -> bool:
    """Whether the pool of this database is paused."""
    pool = getattr(connections[alias], "pool", None)
    return pool is not None and pool.paused


def peak_connections() -> int:
    """The most sessions that a single pool of this process has had open at a time."""
    return max((pool.dialect.peak_sessions for pool in registry.all()), default=0)


def on_new_session(report: Callable[[Any, Any], object]) -> None:
    """Call *report* for each session that this process opens from now on.

    It gets the database wrapper and the driver's connection, in the thread that opens the session.
    There is one such function per process: it replaces an earlier one.
    """

    def report_unpooled(connection: Any, **kwargs: Any) -> None:
        if not hasattr(connection, "pool"):
            report(connection, connection.connection)

    registry.session_opened = report
    if not all(hasattr(connections[alias], "pool") for alias in connections):
        # Only if needed: with a receiver, each borrow sends the signal.
        connection_created.connect(report_unpooled, weak=False, dispatch_uid="pooldaemon.sessions")
