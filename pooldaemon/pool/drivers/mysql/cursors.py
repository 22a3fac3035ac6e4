"""mysqlclient's cursors: each statement is classified, and results stay with their borrower."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

import MySQLdb
from MySQLdb.cursors import CursorUseResultMixIn

from pooldaemon.pool import fork_safety
from pooldaemon.pool.drivers.mysql.sql.classify import DIRTY
from pooldaemon.pool.queue.lease import Lease


class _Watched:
    """Mixed into a cursor class: it judges each statement by its template, before the data.

    The driver's methods get the physical connection from ``_get_db()``; everybody else finds the
    borrower's lease in ``connection``.

    ``_drivers_NAME`` is the method of the class that is watched. A ``super()`` looks through the
    dictionaries of five classes, which is felt in every statement.
    """

    _drivers_discard: Callable[[], None]
    _drivers_execute: Callable[[Any, Any], Any]
    _drivers_executemany: Callable[[Any, Any], Any]
    _drivers_query: Callable[[Any], Any]

    connection: Lease | None
    _result: Any = None
    _verdict = DIRTY
    _template_verdict: int | None = None

    def _get_db(self) -> Any:
        lease = self.connection
        if lease is None:
            raise MySQLdb.ProgrammingError("cursor closed")
        return lease._connection or lease._alive()

    def _discard(self) -> None:
        lease = self.connection
        physical = None if lease is None else lease._connection
        if physical is None:  # closed, or returned: what it read from may be somebody else's
            self._result = None
        # The driver's method uses this attribute, several times: not through the lease.
        self.connection = physical
        try:
            self._drivers_discard()
        finally:
            self.connection = lease

    def drop_rows(self) -> None:
        """Read the rows that nobody will ask for any more; there are none left on the server."""
        self._result = None

    def _judge(self, query: Any) -> int:
        lease = self.connection
        physical = None if lease is None else lease._connection
        if physical is None:
            return DIRTY  # it will not be sent
        verdict: int = physical.side_effects.judge(
            bytes(query) if type(query) is bytearray else query
        )
        return verdict

    def execute(self, query: Any, args: Any = None) -> Any:
        if self._template_verdict is not None:  # called by executemany(), with the data filled in
            self._verdict = self._template_verdict
        else:
            self._verdict = self._judge(query)
        return self._drivers_execute(query, args)

    def executemany(self, query: Any, args: Any) -> Any:
        rows = list(args)  # the caller's generator may run statements itself
        self._template_verdict = self._judge(query)
        try:
            return self._drivers_executemany(query, rows)
        finally:
            self._template_verdict = None

    def _query(self, q: Any) -> Any:
        # The last step before the statement is sent: no code of the caller runs in between.
        connection = self._get_db()
        connection.expected = True
        connection.vouched, self._verdict = self._verdict, DIRTY
        return self._drivers_query(q)


class _Unbuffered(_Watched):
    """A watched cursor that reads its rows from the server one by one."""

    def _get_result(self) -> Any:
        connection = self._get_db()
        broken = connection.broken
        result = super()._get_result()  # type: ignore[misc]
        connection.broken = broken
        connection.unbuffered.append(weakref.ref(self))
        return result

    def _fetch_row(self, size: int = 1) -> Any:
        try:
            return super()._fetch_row(size)  # type: ignore[misc]
        except MySQLdb.Error as error:
            self._note_error(error)
            raise

    # Discarding a result reads the rest of its rows.

    def _discard(self) -> None:
        fork_safety.check()
        try:
            super()._discard()
        except MySQLdb.Error as error:
            self._note_error(error)
            raise

    def drop_rows(self) -> None:
        result, self._result = self._result, None
        if result is not None:
            # Its destructor would block all threads until the server has sent the rest.
            try:
                result.discard()
            except MySQLdb.Error as error:
                self._note_error(error)

    def _note_error(self, error: BaseException) -> None:
        connection = self.connection
        # On a closed cursor, or one being discarded, this is the driver's connection itself.
        physical = getattr(connection, "_connection", connection)
        if physical is not None:
            physical.note_error(error)

    def __del__(self) -> None:
        fork_safety.check()
        self.drop_rows()


@cache
def watched(cursorclass: Any) -> Any:
    """A subclass of *cursorclass* that classifies statements."""
    unbuffered = issubclass(cursorclass, CursorUseResultMixIn)
    methods = ("_discard", "_query", "close", "execute", "executemany")
    drivers = {f"_drivers_{name.lstrip('_')}": getattr(cursorclass, name) for name in methods}
    mixin = _Unbuffered if unbuffered else _Watched
    return type(cursorclass.__name__, (mixin, cursorclass), drivers)
