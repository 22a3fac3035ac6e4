"""Transaction mode: a thread's connection that is borrowed only while something needs it.

A borrow begins with a cursor, or a call of the driver's connection. It ends when the last of these
is over, unless a later statement could miss what is on the session by then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from threading import get_ident
from typing import Any

from MySQLdb.cursors import Cursor

from pooldaemon.pool import fork_safety
from pooldaemon.pool.drivers.mysql.connection import MySQLLease, PooledConnection
from pooldaemon.pool.drivers.mysql.cursors import watched
from pooldaemon.pool.drivers.mysql.proxies import cursor_through
from pooldaemon.pool.queue.lease import Lease, abandon, return_connection, share
from pooldaemon.pool.tokens import clear_frames

_set = object.__setattr__


class TransactionLease:
    """The borrows of one thread, one after the other, until :meth:`end`.

    :param first: a connection that is set up, for whoever asks first.
    :param borrow: returns another one.
    :param can_spare: whether the borrower of a physical connection would miss nothing on another.

    Not thread-safe, but for cursors that die in another thread.
    """

    __slots__ = ("_borrow", "_can_spare", "_holds", "_parked", "borrowed", "thread")

    def __init__(
        self,
        first: Lease,
        borrow: Callable[[], Lease],
        can_spare: Callable[[Any], bool],
    ) -> None:
        self._borrow = borrow
        self._can_spare = can_spare
        self.thread = get_ident()
        self._holds = 0
        """Open cursors, calls under way, and those who want it kept."""
        self._parked: Lease | None = None
        """What was borrowed last, as long as nobody else needs it."""
        self.borrowed: Lease | None = first

    def hold(self) -> None:
        """Keep what is borrowed, or will be, until :meth:`let_go`."""
        self._holds += 1

    def take(self) -> Lease:
        """The connection, borrowed if it is not yet, and held."""
        # Before all else: the garbage collector may drop another cursor at any line.
        self._holds += 1
        if self.borrowed is None:
            if not fork_safety.ours[0]:
                fork_safety.check()
            parked, self._parked = self._parked, None
            try:
                if parked is not None and _resume(parked):
                    self.borrowed = parked
                else:
                    self.borrowed = self._borrow()
            except BaseException as error:
                self._holds -= 1
                parked = None
                clear_frames(error)
                raise
        return self.borrowed

    def let_go(self) -> None:
        """End one :meth:`hold` or :meth:`take`; after the last, the connection may be returned."""
        self._holds -= 1
        if self._holds or (borrowed := self.borrowed) is None:
            return
        connection = borrowed._connection
        if connection is not None and self._can_spare(connection):
            lender = borrowed._lender
            try:
                self.borrowed = None
                if lender.affinity is None or connection.broken:
                    return_connection(borrowed)
                else:
                    self._parked = borrowed
                    lender.affinity.park(borrowed, lender)
            except BaseException as error:
                lender = borrowed = None
                clear_frames(error)
                raise

    def let_go_unseen(self) -> None:
        """Like :meth:`let_go`, where the garbage collector may be the caller: waits for nothing."""
        self._holds -= 1
        if self._holds or (borrowed := self.borrowed) is None:
            return
        connection = borrowed._connection
        if connection is None or not self._can_spare(connection):
            return
        lender = borrowed._lender
        self.borrowed = None
        if lender.affinity is None or connection.broken:
            return_connection(borrowed)
        else:
            self._parked = borrowed
            lender.affinity.leave(borrowed, lender)

    def share(self) -> None:
        """Borrow and keep the connection, because several threads use it from now on."""
        share(self.take())

    def end(self) -> None:
        """Return the connection and borrow no more: this behaves like a closed connection."""
        borrowed, self.borrowed = self.borrowed, _RETURNED
        parked, self._parked = self._parked, None
        if borrowed is not None:
            return_connection(borrowed)
        elif parked is not None:
            _return_parked(parked)

    def leave_to_parent(self) -> bool:
        """In a forked child: what is borrowed is the parent's. ``False``: nothing is."""
        self._parked = None
        if self.borrowed is None:
            return False
        abandon(self.borrowed)
        return True

    def cursor(self, cursorclass: Any = None) -> Any:
        borrowed = self.take()
        try:
            connection = borrowed._connection
            if connection is not None and connection.proxy is not None:
                return cursor_through(connection, cursorclass, partial(self._count, borrowed))
            # Of one that is dead, a cursor whose statements raise, as the driver's own do.
            cursorclass = cursorclass or getattr(connection, "cursorclass", Cursor)
            cursor = _counted(cursorclass)(borrowed)
            cursor._transaction_lease = self
        except BaseException:
            self.let_go()
            raise
        return cursor

    def _count(self, borrowed: Lease, cursorclass: Any) -> Any:
        cursor = _counted(cursorclass)(borrowed)
        cursor._transaction_lease = self
        return cursor

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        borrowed = self.take()
        try:
            return getattr(borrowed, name)(*args, **kwargs)
        finally:
            self.let_go()

    @property
    def connection(self) -> TransactionConnection:
        """What Django's wrapper has for the driver's connection."""
        return TransactionConnection(self)


def _resume(parked: Lease) -> bool:
    affinity = parked._lender.affinity  # ``None`` if somebody else has returned it
    return affinity is not None and affinity.resume(parked)


def _return_parked(parked: Lease) -> None:
    if (affinity := parked._lender.affinity) is not None:
        affinity.return_connection(parked)


_ENDED: Any = object()
_RETURNED = MySQLLease(None, _ENDED)
"""The last borrow of turns that have ended."""


class TransactionConnection:
    """What stands for the driver's connection in transaction mode; see
    :class:`TransactionLease`."""

    __slots__ = ("_transaction_lease", "cursor")
    _transaction_lease: TransactionLease
    cursor: Callable[..., Any]

    def __init__(self, transaction_lease: TransactionLease) -> None:
        _set(self, "_transaction_lease", transaction_lease)
        _set(self, "cursor", transaction_lease.cursor)

    def __getattr__(self, name: str) -> Any:
        of_class = getattr(PooledConnection, name, None)
        if callable(of_class) and not isinstance(of_class, type):
            return partial(self._transaction_lease.call, name)
        value = self._transaction_lease.call("__getattr__", name)
        # A method of a proxy's, or of a subclass of the driver's connection.
        return partial(self._transaction_lease.call, name) if isinstance(value, partial) else value

    def __setattr__(self, name: str, value: Any) -> None:
        self._transaction_lease.call("__setattr__", name, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._transaction_lease.borrowed or 'nothing borrowed'!r}>"


class _Counted:
    """Mixed into a watched cursor class: it holds the connection until it is closed or dropped."""

    _transaction_lease: TransactionLease | None = None
    connection: Any
    _result: Any = None
    _drivers_close: Callable[[], None]
    drop_rows: Callable[[], None]

    def close(self) -> None:
        transaction_lease, self._transaction_lease = self._transaction_lease, None
        if transaction_lease is not None and transaction_lease.thread == get_ident():
            try:
                self._drivers_close()
            finally:
                transaction_lease.let_go()
            return
        # As in cursors._Unbuffered: a child may be ending what its parent's threads began.
        fork_safety.check()
        if transaction_lease is None:
            self._drivers_close()
        else:  # by the garbage collector: the session, which may be in use, is left alone
            self.connection = None

    def __del__(self) -> None:
        transaction_lease, self._transaction_lease = self._transaction_lease, None
        if transaction_lease is None and self._result is None:  # closed, as it should be
            return
        if not fork_safety.ours[0]:
            fork_safety.check()
        if transaction_lease is not None and transaction_lease.thread == get_ident():
            self.drop_rows()
            transaction_lease.let_go_unseen()


@cache
def _counted(cursorclass: Any) -> Any:
    return type(cursorclass.__name__, (_Counted, watched(cursorclass)), {})
