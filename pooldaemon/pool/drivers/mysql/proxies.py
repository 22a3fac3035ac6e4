"""What tracing packages put around the driver's connection.

They replace ``MySQLdb.connect``, which then returns a proxy, or several, one around the other. The
pool works with the connection inside. The borrowers' calls go through the outermost proxy, and so
do requests for cursors: each proxy asks what is inside it, and the innermost asks the connection.
That makes a watched cursor on the borrower's lease, and each proxy wraps it on the way back. So the
spans are the same as without a pool, and every proxy has a watched cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from MySQLdb.connections import Connection

from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.pool.drivers.mysql.failures import may_send

MakeCursor = Callable[[Any], Any]
"""Takes a class of cursors."""

WAY_OUT = (
    "Have it trace Django instead of MySQLdb, switch it off, or set OPTIONS['pool'] to False for "
    "this database."
)


class Proxied(Protocol):
    """What is looked at of a ``PooledConnection``."""

    proxy: Any
    make_cursor: MakeCursor | None


def drivers_connection(opened: Any) -> Any:
    """mysqlclient's connection in *opened*, which ``MySQLdb.connect()`` has returned.

    :raises ImproperlyConfigured: there is none.
    """
    seen = [opened]
    while not issubclass(type(seen[-1]), Connection):  # isinstance() would believe the proxy
        inside = next(_inside(seen[-1]), None)
        if inside is None or any(inside is one for one in seen):
            raise ImproperlyConfigured(
                f"MySQLdb.connect() has returned {_named(opened)}, and no connection of "
                "mysqlclient was found in it (as its __wrapped__, or one of its attributes). The "
                f"pool has to see all statements. {WAY_OUT}"
            )
        seen.append(inside)
    return seen[-1]


def _inside(proxy: Any) -> Iterator[Any]:
    """What *proxy* may contain: its ``__wrapped__``, or a connection among its attributes."""
    wrapped = getattr(proxy, "__wrapped__", None)
    if wrapped is not None:
        yield wrapped
    for value in getattr(proxy, "__dict__", {}).values():
        if issubclass(type(value), Connection) or hasattr(type(value), "__wrapped__"):
            yield value


def _named(thing: Any) -> str:
    kind = type(thing)
    return f"a {kind.__module__}.{kind.__qualname__}"


_kinds: dict[type, type] = {}


def with_methods_of(kind: type, pooled: type) -> type:
    """*pooled* for a connection of *kind*, a subclass of the driver's.

    :raises ImproperlyConfigured: it overrides a method on which the pool relies.
    """
    overridden = [name for name in may_send() if name in _names_beyond_drivers(kind)]
    if overridden:
        raise ImproperlyConfigured(
            f"{kind.__module__}.{kind.__qualname__}, a subclass of mysqlclient's Connection, "
            f"overrides {', '.join(sorted(overridden))}. What it sends there the pool could not "
            "judge. Do it in a class of cursors (OPTIONS['cursorclass']), or set OPTIONS['pool'] "
            "to False for this database."
        )
    try:
        return _kinds.setdefault(kind, type(kind.__name__, (kind, pooled), {}))
    except TypeError as error:
        raise ImproperlyConfigured(
            f"{kind.__module__}.{kind.__qualname__} can't be pooled: {error}. Set OPTIONS['pool'] "
            "to False for this database."
        ) from error


def _names_beyond_drivers(kind: type) -> set[str]:
    return {name for base in kind.__mro__ if base not in Connection.__mro__ for name in vars(base)}


def makes_cursors_itself(kind: type) -> bool:
    """Whether a subclass of the driver's connection overrides ``cursor()``."""
    return "cursor" in _names_beyond_drivers(kind)


def cursor_through(connection: Proxied, cursorclass: Any, make: MakeCursor) -> Any:
    """Ask the outermost proxy for a cursor; *make* makes the one inside.

    :raises ImproperlyConfigured: a proxy has not asked what it is around.
    """
    proxy = connection.proxy
    connection.make_cursor = make
    try:
        cursor = proxy.cursor() if cursorclass is None else proxy.cursor(cursorclass)
        asked = connection.make_cursor is None
    finally:
        connection.make_cursor = None
    if not asked:
        raise ImproperlyConfigured(
            f"cursor() of {_named(proxy)} does not ask the connection that it is around for a "
            f"cursor. Statements of its cursors can't be judged. {WAY_OUT}"
        )
    return cursor
