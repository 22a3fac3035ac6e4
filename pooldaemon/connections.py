"""What the rest of the world may ask of pools: give back, close, limit."""

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
from pooldaemon.pool.drivers.mysql.sql.side_effects import Answer, heard
from pooldaemon.pool.drivers.mysql.sql.suspects import Suspects
from pooldaemon.pool.registry import registry
from pooldaemon.pool.tokens import Token
from pooldaemon.pool_commands import PoolCommand
from pooldaemon.stats import PoolStats

logger = logging.getLogger("pooldaemon.connections")

F = TypeVar("F", bound=Callable[..., Any])


class _Thread(threading.local):
    """The units of work that this thread is inside of."""

    def __init__(self) -> None:
        self.units: set[weakref.ref[Token]] = set()
        self.since = 0.0
        """When the outermost of them began (monotonic clock)."""


_thread = _Thread()


def give_back(begun: float = float("inf"), *, again: bool = False) -> None:
    """Give back every connection of this thread that is not inside an ``atomic()``.

    One that was borrowed after *begun* (monotonic clock) is in an ``atomic()`` that nobody around
    can end, and to go on inside it would lose what is done. So it is closed, which rolls back;
    until the end of the block its queries raise ``TransactionManagementError``.

    Only aliases that this thread has used are looked at. An error of one connection is logged
    and keeps none of the others. Thread-safe: it touches this thread's connections only.

    :param again: an exception has broken it off.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            if connection.closed_in_transaction or not _is_borrowed_after(connection, begun):
                continue
            logger.error(
                "A unit of work has left an atomic() block of the database %r open: rolled back.",
                connection.alias,
            )
        try:
            connection.close()
            if again and (close_remains := getattr(connection, "close_remains", None)) is not None:
                close_remains()
        except Exception:
            logger.warning("Giving back the connection %r failed.", connection.alias, exc_info=True)


def _is_borrowed_after(connection: Any, begun: float) -> bool:
    since = getattr(connection, "borrowed_since", None)
    return since is not None and since >= begun


class UnitOfWork:
    """The context manager that ``auto_close_db()`` returns; for ``with`` and ``async with``.

    An exception may be raised at any line (Ctrl-C, a limit of time). So a thread is inside of a
    unit for as long as an object lives to which only this one refers, and the end of a unit may be
    called for a second time.
    """

    def __init__(self) -> None:
        self._begun: list[tuple[set[weakref.ref[Token]], Token]] = []

    def __del__(self) -> None:
        # Its end was broken off before it had begun; or its beginning was.
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
        """Does nothing the second time."""
        try:
            self._end()
        except BaseException:  # of the thread's, in the middle of it: to the end all the same
            self._end(again=True)
            raise

    def _end(self, *, again: bool = False) -> None:
        # Another thread may end it: the garbage collector's, for an abandoned generator. Its own
        # units and connections are no business of ours.
        if self._begun and self._leave() is _thread.units and not _thread.units:
            give_back(_thread.since, again=again)
        del self._begun[-1:]

    def _end_async(self) -> None:
        # A task that outlives its request goes on in another thread, and borrows there.
        if self._begun:
            self._leave()
        if not _thread.units:
            give_back()
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
    """Run *function* where Django's async ORM runs, and so its connections are.

    To the end, also if the caller is cancelled: a unit that did not end would keep the thread's
    connections for good.
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
    """Give the thread's database connections back when a unit of work ends.

    As a decorator on plain, ``async`` and generator functions; as a context manager,
    ``with auto_close_db():`` (``async with`` in async code)::

        @auto_close_db
        def sync_inventory(): ...

    The connections go back when the outermost unit of the thread ends, also if it ends with an
    exception, which passes through. A unit that is a generator ends when it is exhausted or
    closed. A connection inside an ``atomic()`` of the caller is left alone. If the unit itself has
    left one open, its transaction is rolled back, which is logged as an error.

    Async units run their database work in the thread that ``sync_to_async`` uses; those that
    share this thread at the same time count as nested.

    :param function: what to wrap.
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
        finally:  # for an exception in the first moment of its end
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
                # There is no "yield from" for these: what is sent and thrown is passed on by hand.
                value = await anext(generator)
                while True:
                    try:
                        sent = yield value
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - it is the function's to judge
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
    """Close the pools of this process, for instance before a fork.

    The calling thread's connections are given back first (those inside an ``atomic()`` close
    when they come back, as do those that other threads hold). The next borrower opens a pool
    anew. Thread-safe.

    :param alias: only the pool of this database. Default: every pool.
    :raises django.utils.connection.ConnectionDoesNotExist: there is no such database.
    """
    if alias is None:
        give_back()
        registry.close_all()
        return
    connection = connections[alias]
    if not connection.in_atomic_block:
        connection.close()
    if (pool := getattr(connection, "pool", None)) is not None:
        pool.close()


def limit_connections(limits: PerDatabase) -> None:
    """Give the pools of this process hard caps, whatever the settings say.

    Closes the pools that are open; meant for the start of a process.

    :param limits: by database; where there is none, the settings count. Each 1 or more.
    """
    give_back()
    registry.limit(limits)


def unpooled_aliases() -> list[str]:
    """The databases whose connections no pool of ours counts, so that no limit holds."""
    return [alias for alias in connections if getattr(connections[alias], "pool", None) is None]


def pool_stats() -> tuple[PoolStats, ...]:
    """One snapshot per pool of this process. Thread-safe; costs the pools nothing."""
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
    """Close what paused pools of this process have opened; says whether there are such pools.

    A borrower that was served just before the pause may have connected since.
    """
    paused = [pool for pool in registry.all() if pool.paused]
    for pool in paused:
        pool.close()
    return bool(paused)


def suspects_found() -> Iterator[tuple[int, dict[str, Any], float]]:
    """What this process knows of its servers' hidden code: for :func:`believe_suspects` of another
    process of the same fork, the arguments of which these are."""
    for pool in registry.all():
        if (side_effects := pool.dialect.side_effects) is None:
            continue  # SQLite's, whose statements run no code of a server's
        suspects, asked = side_effects.answer
        if suspects is not None:
            yield pool.dialect.account, suspects.to_json(), asked


def believe_suspects(account: int, suspects: dict[str, Any], asked: float) -> None:
    """Let this process, and those that it forks from now on, not ask what another one has."""
    heard[account] = Answer(Suspects.from_json(suspects), asked)


def is_paused(alias: str) -> bool:
    """Whether the pool of this database lends nothing just now."""
    pool = getattr(connections[alias], "pool", None)
    return pool is not None and pool.paused


def peak_connections() -> int:
    """The most sessions that any one pool of this process has had open at once."""
    return max((pool.dialect.peak_sessions for pool in registry.all()), default=0)


def on_new_session(tell: Callable[[Any, Any], object]) -> None:
    """Have *tell* called with each session that this process opens from now on: with the wrapper
    that sets it up and the driver's connection, in its thread. One such function per process."""

    def tell_of_others(connection: Any, **kwargs: Any) -> None:
        if not hasattr(connection, "pool"):
            tell(connection, connection.connection)

    registry.session_opened = tell
    if not all(hasattr(connections[alias], "pool") for alias in connections):
        # Elsewhere nobody listens: each borrow would send the signal.
        connection_created.connect(tell_of_others, weak=False, dispatch_uid="pooldaemon.sessions")
