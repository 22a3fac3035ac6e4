"""mysqlclient's connection, watched for what is done to its session; and its lease."""

from __future__ import annotations

import os
import re
import select
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import MySQLdb
from MySQLdb.connections import Connection
from MySQLdb.cursors import Cursor

from pooldaemon.pool import fork_safety
from pooldaemon.pool.drivers.mysql.baseline import NOTHING, Baseline
from pooldaemon.pool.drivers.mysql.cursors import watched
from pooldaemon.pool.drivers.mysql.failures import NotingConnection
from pooldaemon.pool.drivers.mysql.proxies import (
    MakeCursor,
    cursor_through,
    drivers_connection,
    makes_cursors_itself,
    with_methods_of,
)
from pooldaemon.pool.drivers.mysql.sql.classify import DIRTY, READS
from pooldaemon.pool.drivers.mysql.sql.last_result import (
    forget_all,
    forget_foreign,
    refuse_result,
    refuse_unsettled,
)
from pooldaemon.pool.drivers.mysql.sql.side_effects import SideEffects
from pooldaemon.pool.queue.lease import OF_THE_PARENT, Lease

MAX_REMEMBERED = 1000
"""So many bytes of a session's last statement are kept."""

MAX_TOLD_IDS = 1000
"""So many generated ids are kept for a borrower that asks for one, the last ones."""

# What may lead to another database or role; a procedure may, too.
_ELSEWHERE = re.compile(rb"\b(?:use|drop|role|call|execute)\b", re.IGNORECASE)

# What a reset leaves behind on one server or the other: resource groups, the texts of profiled
# statements.
_BEYOND_RESET = re.compile(rb"\b(?:resource\s+group|profiling)\b", re.IGNORECASE)


_TEXT_ALONE = SideEffects(proves=False)


class PooledConnection(NotingConnection):
    """One session. A statement is taken for dirty unless a watched cursor has vouched for it.

    So whatever goes past the cursors (``callproc``, a query on the driver's own connection) makes
    the session dirty too. Belongs to one borrower at a time and is not thread-safe.
    """

    side_effects: SideEffects
    """What is known of the code behind its statements."""
    changed_schema: bool
    """A statement ran that may have changed which statements are clean."""
    changing_schema: bool
    """The last statement did."""
    expected: bool
    """The very next statement is sent by those who take its result: a cursor, or ourselves."""
    vouched: int
    """What the very next statement was judged to be by its template."""
    ran: int
    """The clean kinds of statement that its borrower has run."""
    foreign_results: bool
    """The server may still answer for an earlier borrower's last statements."""
    session: int
    """Its number on the server. Kept, since the driver does not tell it during a query."""
    transaction_mode: bool
    """What its borrower did before it borrowed may have been on another session."""
    told_ids: set[int]
    """The generated ids that its borrower's statements were told of."""
    id_is_own: bool
    """Whatever ``LAST_INSERT_ID()`` answers is its borrower's doing."""
    watch: int
    """A second descriptor of the socket: it tells when the server ends the session, also after
    the driver has given up and closed its own."""
    poll: select.poll
    """Ready when there is something to read on the socket."""
    wait_timeout: float
    """Seconds of idleness after which the server ends the session."""
    last_used: float
    """When it came back to one of SQLAlchemy's own pools (monotonic clock)."""
    last_statement: bytes | str
    """The beginning of the last one, with its data: for :func:`~.statements.shape` alone."""
    unbuffered: list[weakref.ref[Any]]
    """Cursors whose results are read from the server row by row."""
    setup: list[bytes] | None
    """While the session is set up: the statements that did it."""
    settled: frozenset[bytes]
    """Statements of its set-up that need not be sent again: see :mod:`~.repetition`."""
    baseline: Baseline
    """What brings the session back to its state after set-up, after a reset."""
    went_elsewhere: bool
    """A statement ran that may have changed role or current database."""
    proxy: Any
    """What a tracing package has put around it, the outermost; ``None``: nothing."""
    make_cursor: MakeCursor | None
    """While its borrower's cursor is asked for through the proxies: what makes it."""

    @classmethod
    def adopt(cls, opened: Any) -> PooledConnection:
        """Watch a connection fresh from ``MySQLdb.connect()``, in a proxy or not.

        The object's class is changed in place: so Django's way of connecting, and that of a
        wrapper over its backend, stays theirs, and a query pays for no proxy of ours.

        :raises ImproperlyConfigured: there is no connection of mysqlclient in it, or one of a
            class that can't be pooled.
        """
        connection = drivers_connection(opened)
        kind = type(connection)
        connection.__class__ = cls if kind is Connection else with_methods_of(kind, cls)
        self: PooledConnection = connection
        self.proxy = None if opened is connection and not makes_cursors_itself(kind) else opened
        self.make_cursor = None
        self.broken = self.lost = self.dirty = self.refused_write = False
        self.changed_schema = self.changing_schema = False
        self.side_effects = _TEXT_ALONE  # until it is set up
        self.expected = self.foreign_results = self.transaction_mode = False
        self.told_ids = set()
        self.id_is_own = False
        self.vouched = self.ran = DIRTY
        self.session = self.thread_id()
        self.watch = os.dup(self.fileno())
        self.poll = select.poll()
        self.poll.register(self.watch, select.POLLIN)
        self.wait_timeout = float("inf")
        self.last_used = time.monotonic()
        self.last_statement = b""
        self.unbuffered = []
        self.setup = []
        self.settled = frozenset()
        self.baseline = NOTHING
        self.went_elsewhere = False
        return self

    def __del__(self) -> None:
        # Lost by an exception before anybody knew of it; or else it has been taken over.
        if (watch := getattr(self, "watch", -1)) >= 0:
            os.close(watch)

    @contextmanager
    def not_recorded(self) -> Iterator[None]:
        """For questions asked during the set-up, which a reset need not ask again."""
        setup, self.setup = self.setup, None
        try:
            yield
        finally:
            self.setup = setup

    def query(self, query: Any) -> None:
        if not fork_safety.ours[0]:
            fork_safety.check()
            raise MySQLdb.InterfaceError(0, OF_THE_PARENT)
        vouched, self.vouched = self.vouched, DIRTY
        expected, self.expected = self.expected, False
        if not expected and self.setup is None:
            # Perhaps nobody takes its result, and a reset with one pending never returns: the
            # client library goes round in a circle.
            self.broken = True
        if vouched:
            self.ran |= vouched
        else:
            statement = query.encode(self.encoding) if isinstance(query, str) else query
            if self.transaction_mode and self.setup is None:
                refuse_unsettled(self, statement)
            if self.foreign_results:
                forget_foreign(self, statement)
            self._note_dirty(statement)
        self.last_statement = query if len(query) <= MAX_REMEMBERED else query[:MAX_REMEMBERED]
        try:
            Connection.query(self, query)
        except MySQLdb.Error as error:
            self.note_error(error)
            if self.changing_schema:
                self._schema_is_changed()  # in part, perhaps
            raise
        if vouched != READS:
            self._note_answers()
            if self.changing_schema:
                self._schema_is_changed()

    def _schema_is_changed(self) -> None:
        # Another thread may have asked while the statement ran.
        self.changing_schema = False
        self.side_effects.note_change()

    def _note_answers(self) -> None:
        if self.field_count():
            self.ran |= READS
        elif generated := self.insert_id():
            if len(self.told_ids) >= MAX_TOLD_IDS:
                self.told_ids.clear()
            self.told_ids.add(generated)

    def ask(self, statement: bytes | str) -> Any:
        """Send a statement of our own; its result, stored."""
        self.expected = True
        self.query(statement)
        return self.store_result()

    def rows_of(self, question: str) -> Any:
        """All rows of the answer to one of our own."""
        return self.ask_aside(question).fetch_row(0)

    def ask_aside(self, statement: bytes | str) -> Any:
        """The same for one that is clean, and not the borrower's."""
        ran = self.ran
        self.vouched = READS
        try:
            return self.ask(statement)
        finally:
            self.ran = ran

    def _note_dirty(self, statement: bytes | bytearray) -> None:
        self.dirty = True
        if self.setup is not None:
            self.setup.append(bytes(statement))
            return
        self.went_elsewhere = self.went_elsewhere or bool(_ELSEWHERE.search(statement))
        if self.side_effects.note_statement(statement):
            self.changed_schema = self.changing_schema = True
        self.broken = self.broken or bool(_BEYOND_RESET.search(statement))

    def cursor(self, cursorclass: Any = None) -> Any:
        make, self.make_cursor = self.make_cursor, None
        return (make or super().cursor)(cursorclass or self.cursorclass)

    def use_result(self) -> Any:
        # Nobody can tell whether this result has been read to its end: see cursors._Unbuffered.
        self.broken = True
        return super().use_result()

    def has_unread_rows(self) -> bool:
        """Whether a cursor that reads row by row was left open."""
        if not self.unbuffered:
            return False
        cursors = ((ref, ref()) for ref in self.unbuffered)
        self.unbuffered = [ref for ref, cursor in cursors if getattr(cursor, "_result", None)]
        return bool(self.unbuffered)

    # The remaining ways to change a session, none of which is a statement.

    def send_query(self, *args: Any) -> Any:
        self.broken = True  # half a statement: its answer may still be on the way
        return super().send_query(*args)

    def select_db(self, *args: Any) -> Any:
        self.dirty = self.went_elsewhere = True
        return super().select_db(*args)

    def set_character_set(self, *args: Any) -> Any:
        self.broken = True  # a reset tells the server, but not the client library
        return super().set_character_set(*args)

    def set_server_option(self, *args: Any) -> Any:
        self.broken = True  # a reset does not take it back
        return super().set_server_option(*args)

    def change_user(self, *args: Any, **kwargs: Any) -> Any:
        self.broken = True  # a reset does not take it back
        return super().change_user(*args, **kwargs)


_LAST_RESULTS = frozenset(
    {"affected_rows", "error", "field_count", "info", "insert_id", "warning_count"}
)
"""What the client library remembers of the last statement."""


class MySQLLease(Lease):
    """The lease of a MySQL connection: what it hands out dies with it."""

    __slots__ = ()
    _error_class = MySQLdb.InterfaceError

    def cursor(self, cursorclass: Any = None) -> Any:
        connection = self._connection
        if connection is None:
            # As the driver does it: the error comes with the first statement, and Django, which
            # knows better what happened, may have one of its own to raise before.
            return watched(cursorclass or Cursor)(self)
        if connection.proxy is not None:
            return cursor_through(connection, cursorclass, lambda kind: watched(kind)(self))
        return watched(cursorclass or connection.cursorclass)(self)

    def __getattr__(self, name: str) -> Any:
        connection = self._alive()
        if name in {"encoders", "converter"}:  # dicts, which the caller can change unseen
            connection.broken = True
        value = getattr(_outermost(connection, name), name)
        if callable(value) and not isinstance(value, type):
            return partial(_call, self, name)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # On the client's side, where no reset reaches.
        self._alive().broken = True
        super().__setattr__(name, value)


def _outermost(connection: PooledConnection, name: str) -> Any:
    """Where to look for *name*. What is private to a proxy may lead around the lease."""
    proxy = connection.proxy
    return connection if proxy is None or name.startswith("_") else proxy


def _call(lease: MySQLLease, name: str, *args: Any, **kwargs: Any) -> Any:
    connection = lease._alive()
    if name in _LAST_RESULTS:
        if connection.transaction_mode:
            refuse_result(connection, name)
        elif connection.foreign_results and not connection.ran:
            forget_all(connection)
            connection.ask_aside("DO 0")  # the client library keeps them over a SELECT
    return getattr(_outermost(connection, name), name)(*args, **kwargs)
