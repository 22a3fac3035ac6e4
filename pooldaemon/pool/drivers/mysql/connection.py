"""mysqlclient's connection, which notes what is done to its session, and its lease."""

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
from pooldaemon.pool.drivers.mysql.keepalive import notice_silence
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
"""Bytes that are kept of a session's last statement."""

MAX_GENERATED_IDS = 1000
"""Generated ids that are kept for a borrower that asks for one: the latest."""

# What may change the current database or role; a procedure may do so, too.
_ELSEWHERE = re.compile(rb"\b(?:use|drop|role|call|execute)\b", re.IGNORECASE)

# What a reset does not undo on one of the servers: resource groups, texts of profiled statements.
_BEYOND_RESET = re.compile(rb"\b(?:resource\s+group|profiling)\b", re.IGNORECASE)


_TEXT_ALONE = SideEffects(proves=False)


class PooledConnection(NotingConnection):
    """One session. A statement counts as dirty unless a watched cursor has marked it as clean.

    So whatever does not go through these cursors (``callproc``, a query on the driver's own
    connection) makes the session dirty. It belongs to one borrower at a time and is not
    thread-safe.
    """

    side_effects: SideEffects
    """What is known of the triggers, views and functions behind its statements."""
    changed_schema: bool
    """A statement ran that may have changed which statements are clean."""
    changing_schema: bool
    """The last statement may have done so."""
    expected: bool
    """The next statement comes from code that reads its result: a cursor, or the pool."""
    vouched: int
    """The class of the next statement, found by its template."""
    ran: int
    """The classes of clean statements that its borrower has run."""
    foreign_results: bool
    """The server may still answer for an earlier borrower's last statements."""
    session: int
    """Its number on the server. Kept, because the driver can't be asked for it during a query."""
    transaction_mode: bool
    """Earlier statements of its borrower may have run on another session."""
    generated_ids: set[int]
    """The ids that the server generated for its borrower's statements."""
    id_is_own: bool
    """What ``LAST_INSERT_ID()`` answers comes from its borrower's statements."""
    watch: int
    """A second descriptor of the socket. It shows when the server ends the session, also after the
    driver has given up and closed its own."""
    local_port: int
    """Of our end, by which the server knows it; 0: it has none."""
    poll: select.poll
    """Ready when there is something to read on the socket."""
    wait_timeout: float
    """Seconds of idleness after which the server ends the session."""
    last_used: float
    """When it was returned to one of SQLAlchemy's own pools (monotonic clock)."""
    last_statement: bytes | str
    """The beginning of the last statement, with its data. Shown only without them: see
    ``shape()``."""
    unbuffered: list[weakref.ref[Any]]
    """Cursors whose results are read from the server row by row."""
    setup: list[bytes] | None
    """During the set-up of the session: the statements so far. Afterwards ``None``."""
    settled: frozenset[bytes]
    """Statements of its set-up that need not be sent again: see ``setup_replay``."""
    baseline: Baseline
    """What restores the state after set-up when the session has been reset."""
    went_elsewhere: bool
    """A statement ran that may have changed role or current database."""
    proxy: Any
    """The outermost proxy that tracing packages have put around it; ``None``: there is none."""
    make_cursor: MakeCursor | None
    """What makes the cursor, while a cursor is requested through the proxies."""

    @classmethod
    def adopt(cls, opened: Any) -> PooledConnection:
        """Turn what ``MySQLdb.connect()`` returned, in a proxy or not, into a ``PooledConnection``.

        The object's class is changed in place. So Django, or a wrapper over its backend, connects
        as it always does, and no proxy of ours slows a query down.

        :raises ImproperlyConfigured: it contains no connection of mysqlclient, or one of a class
            that can't be pooled.
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
        self.generated_ids = set()
        self.id_is_own = False
        self.vouched = self.ran = DIRTY
        self.session = self.thread_id()
        self.watch = os.dup(self.fileno())
        self.local_port = notice_silence(self.watch)
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
        # The descriptor is still open only if an exception has lost the connection before it was
        # known.
        if (watch := getattr(self, "watch", -1)) >= 0:
            os.close(watch)

    @contextmanager
    def not_recorded(self) -> Iterator[None]:
        """Statements in this block, during the set-up, are not repeated after a reset."""
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
            # Perhaps nobody reads its result. A reset with a pending result never returns: the
            # client library loops for ever.
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
                self._schema_is_changed()  # perhaps in part
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
            if len(self.generated_ids) >= MAX_GENERATED_IDS:
                self.generated_ids.clear()
            self.generated_ids.add(generated)

    def ask(self, statement: bytes | str) -> Any:
        """Send a statement of the pool's own; returns its stored result."""
        self.expected = True
        self.query(statement)
        return self.store_result()

    def rows_of(self, question: str) -> Any:
        """All rows of the answer to a question of the pool's own."""
        return self.ask_aside(question).fetch_row(0)

    def ask_aside(self, statement: bytes | str) -> Any:
        """As :meth:`ask`, for a clean statement, which does not count as the borrower's."""
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
        # Nothing shows whether this result has been read to its end: see cursors._Unbuffered.
        self.broken = True
        return super().use_result()

    def has_unread_rows(self) -> bool:
        """Whether a cursor that reads row by row was left open."""
        if not self.unbuffered:
            return False
        cursors = ((ref, ref()) for ref in self.unbuffered)
        self.unbuffered = [ref for ref, cursor in cursors if getattr(cursor, "_result", None)]
        return bool(self.unbuffered)

    # Further ways to change a session that are not statements.

    def send_query(self, *args: Any) -> Any:
        self.broken = True  # half a statement: its answer may still arrive
        return super().send_query(*args)

    def select_db(self, *args: Any) -> Any:
        self.dirty = self.went_elsewhere = True
        return super().select_db(*args)

    def set_character_set(self, *args: Any) -> Any:
        self.broken = True  # a reset changes the server, but not the client library
        return super().set_character_set(*args)

    def set_server_option(self, *args: Any) -> Any:
        self.broken = True  # a reset does not undo it
        return super().set_server_option(*args)

    def change_user(self, *args: Any, **kwargs: Any) -> Any:
        self.broken = True  # a reset does not undo it
        return super().change_user(*args, **kwargs)


_LAST_RESULTS = frozenset(
    {"affected_rows", "error", "field_count", "info", "insert_id", "warning_count"}
)
"""Methods that answer from what the client library remembers of the last statement."""


class MySQLLease(Lease):
    """The lease of a MySQL connection. Cursors and methods that it returned end with it."""

    __slots__ = ()
    _error_class = MySQLdb.InterfaceError

    def cursor(self, cursorclass: Any = None) -> Any:
        connection = self._connection
        if connection is None:
            # As in the driver, the error comes with the first statement. Django knows better what
            # happened and may raise an error of its own before.
            return watched(cursorclass or Cursor)(self)
        if connection.proxy is not None:
            return cursor_through(connection, cursorclass, lambda kind: watched(kind)(self))
        return watched(cursorclass or connection.cursorclass)(self)

    def __getattr__(self, name: str) -> Any:
        connection = self._alive()
        if name in {
            "encoders",
            "converter",
        }:  # dicts that the caller can change without our noticing
            connection.broken = True
        value = getattr(_outermost(connection, name), name)
        if callable(value) and not isinstance(value, type):
            return partial(_call, self, name)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # It changes the client's side, which no reset restores.
        self._alive().broken = True
        super().__setattr__(name, value)


def _outermost(connection: PooledConnection, name: str) -> Any:
    """The object to ask for *name*. A proxy's private attributes could bypass the lease."""
    proxy = connection.proxy
    return connection if proxy is None or name.startswith("_") else proxy


def _call(lease: MySQLLease, name: str, *args: Any, **kwargs: Any) -> Any:
    connection = lease._alive()
    if name in _LAST_RESULTS:
        if connection.transaction_mode:
            refuse_result(connection, name)
        elif connection.foreign_results and not connection.ran:
            forget_all(connection)
            connection.ask_aside("DO 0")  # the client library keeps them during a SELECT
    return getattr(_outermost(connection, name), name)(*args, **kwargs)
