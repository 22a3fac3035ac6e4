"""A MySQL session under a pool: what its borrower may have left on it, and how it is undone."""

from __future__ import annotations

import ctypes
import select
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import MySQLdb
from MySQLdb.connections import Connection

from pooldaemon.pool.statements import is_clean

FATAL_ERRORS = frozenset(
    {
        1927,  # connection was killed
        2006,  # server has gone away
        2013,  # lost connection during query
        2014,  # commands out of sync
        2045,  # connection lost while setting it up
        2055,  # lost connection, with the step named
        4031,  # disconnected by the server because of inactivity
        # A primary that turned into a replica: the next connect may find the new primary.
        1290,  # running with --read-only
        1792,  # read only transaction
        1836,  # read only mode
    }
)
"""Error numbers after which a connection is not used again (MySQL 9 and MariaDB 10.11)."""


MANY_CURSORS = 64
"""So many cursors of one borrower, and the closed ones are forgotten."""


class PooledConnection(Connection):
    """mysqlclient's connection, watched where statements leave for the server.

    A statement is taken for dirty unless a cursor's ``execute`` or ``executemany`` has vouched
    for it; so whatever goes past them (``callproc``, a query on the driver's own handle) makes
    the session dirty too. Belongs to one borrower at a time and is not thread-safe.
    """

    broken: bool
    """Not to be used again."""
    dirty: bool
    """The session may hold something of its borrower's."""
    vouched: bool
    """The statement about to leave was judged clean by its template."""
    descriptor: int
    """The socket's; cached, since the driver refuses to tell it while a query runs."""
    poll: select.poll
    """Ready when there is something to read on the socket."""
    wait_timeout: float
    """Seconds of idleness after which the server ends the session."""
    last_used: float
    """When it came back to the pool (monotonic clock)."""
    cursors: list[weakref.ref[Any]]
    """The cursors of the present borrower, except many that it has closed."""
    setup: list[bytes] | None
    """While the session is set up: the statements that did it."""
    baseline: bytes
    """The statements that set up the session, for after a reset."""

    @classmethod
    def adopt(cls, connection: Any) -> PooledConnection:
        """Watch a connection fresh from ``MySQLdb.connect()``.

        The object's class is changed in place: so Django's way of connecting, and that of a
        wrapper over its backend, stays theirs, and a query pays for no proxy.

        :raises TypeError: it is not mysqlclient's connection.
        """
        if type(connection) is not Connection:
            raise TypeError(f"expected a connection of mysqlclient, got {type(connection)!r}")
        connection.__class__ = cls
        self: PooledConnection = connection
        self.broken = self.dirty = self.vouched = False
        self.descriptor = self.fileno()
        self.poll = select.poll()
        self.poll.register(self.descriptor, select.POLLIN)
        self.last_used = 0.0
        self.wait_timeout = 0.0
        self.cursors = []
        self.setup = []
        self.baseline = b""
        return self

    @contextmanager
    def not_recorded(self) -> Iterator[None]:
        """For questions asked during the set-up, which a reset need not ask again."""
        setup, self.setup = self.setup, None
        try:
            yield
        finally:
            self.setup = setup

    def query(self, query: Any) -> None:
        if not self.vouched:
            self.dirty = True
            if self.setup is not None:
                self.setup.append(query.encode(self.encoding) if isinstance(query, str) else query)
        try:
            super().query(query)
        except MySQLdb.Error as error:
            self.broken = self.broken or error.args[0] in FATAL_ERRORS
            raise

    def cursor(self, cursorclass: Any = None) -> Any:
        cursor = _watched(cursorclass or self.cursorclass)(self)
        if len(self.cursors) >= MANY_CURSORS:
            self.cursors = [ref for ref in self.cursors if _is_open(ref())]
        self.cursors.append(weakref.ref(cursor))
        return cursor

    def close_cursors(self) -> None:
        """Cut off the cursors left open: they must not reach the next borrower's session."""
        for ref in self.cursors:
            cursor: Any = ref()
            if _is_open(cursor):
                # An unbuffered result not read to its end: its rows are still on the way.
                self.broken = self.broken or cursor._result is not None
                cursor.connection = cursor._result = None
        self.cursors.clear()

    # The remaining ways to change a session, none of which is a statement.

    def send_query(self, *args: Any) -> Any:
        self.dirty = True
        return super().send_query(*args)

    def select_db(self, *args: Any) -> Any:
        self.dirty = True
        return super().select_db(*args)

    def set_character_set(self, *args: Any) -> Any:
        self.dirty = True
        return super().set_character_set(*args)

    def set_server_option(self, *args: Any) -> Any:
        self.broken = True  # a reset does not take it back
        return super().set_server_option(*args)

    def change_user(self, *args: Any, **kwargs: Any) -> Any:
        self.broken = True  # a reset does not take it back
        return super().change_user(*args, **kwargs)


def _is_open(cursor: Any) -> bool:
    return cursor is not None and cursor.connection is not None


class _Vouching:
    """Mixed into a cursor class: judges each statement by its template, before the data."""

    connection: PooledConnection | None

    def execute(self, query: Any, args: Any = None) -> Any:
        connection = self.connection
        # Vouched already: executemany() calls this with the data put in, and its verdict holds.
        if connection is None or connection.vouched:
            return super().execute(query, args)  # type: ignore[misc]
        connection.vouched = is_clean(query)
        try:
            return super().execute(query, args)  # type: ignore[misc]
        finally:
            connection.vouched = False

    def executemany(self, query: Any, args: Any) -> Any:
        connection = self.connection
        if connection is None:
            return super().executemany(query, args)  # type: ignore[misc]
        connection.vouched = is_clean(query)
        try:
            return super().executemany(query, args)  # type: ignore[misc]
        finally:
            connection.vouched = False


@cache
def _watched(cursorclass: Any) -> Any:
    return type(cursorclass.__name__, (_Vouching, cursorclass), {})


BASELINE = """
SELECT DATABASE(), @@character_set_client, @@collation_connection, @@session.sql_mode, @@autocommit,
  @@wait_timeout
"""
"""What a reset loses and no statement of the set-up may have said; and how long it may idle."""

HIDDEN_CODE = """
SELECT EXISTS (SELECT 1 FROM information_schema.triggers WHERE trigger_schema <> 'sys')
  OR EXISTS (SELECT 1 FROM information_schema.views WHERE table_schema NOT IN ('sys', 'mysql'))
  OR EXISTS (SELECT 1 FROM information_schema.routines
             WHERE routine_schema NOT IN ('sys', 'mysql') AND routine_type = 'FUNCTION')
  OR NOT EXISTS (
    SELECT 1 FROM information_schema.user_privileges WHERE privilege_type = 'TRIGGER'
    UNION ALL
    SELECT 1 FROM information_schema.schema_privileges
    WHERE privilege_type = 'TRIGGER' AND DATABASE() LIKE table_schema)
"""
"""Whether statements may do more than their text tells. Triggers are invisible without the
privilege of that name, so its absence counts as yes."""


def record_baseline(connection: PooledConnection, init_command: str) -> None:
    """End the set-up of a new session: remember what brings it back to this state.

    :param init_command: the driver's option of this name, which ran out of our sight.
    """
    setup, connection.setup = connection.setup or [], None
    database, charset, collation, sql_mode, autocommit, connection.wait_timeout = _fetch_row(
        connection, BASELINE
    )
    statements = [
        f"SET NAMES {charset} COLLATE {collation}, SESSION sql_mode = '{sql_mode}'".encode(),
        *([b"USE `%s`" % database.encode().replace(b"`", b"``")] if database else []),
        *([init_command.rstrip("; \n").encode(connection.encoding)] if init_command else []),
        *setup,
        b"SET autocommit = %d" % autocommit,
    ]
    connection.baseline = b"; ".join(statements)
    connection.dirty = False


def runs_hidden_code(connection: PooledConnection) -> bool:
    """Whether the server has (or may hide) triggers, functions or views that could act unseen."""
    return bool(_fetch_row(connection, HIDDEN_CODE)[0])


def _fetch_row(connection: PooledConnection, statement: str) -> Any:
    with connection.cursor(MySQLdb.cursors.Cursor) as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


def reset(connection: PooledConnection, mode: str, autocommit: bool, hidden_code: bool) -> bool:
    """Make the session clean for its next borrower, or mark it ``broken``.

    :param mode: ``"dirty"``, ``"always"`` or ``"never"`` (``OPTIONS["pool"]["reset"]``). An
        open transaction is ended in every mode.
    :param autocommit: what the session's autocommit is to be.
    :param hidden_code: what :func:`runs_hidden_code` said: no statement is known to be clean.
    :returns: whether the session was reset, not just found clean.
    """
    connection.close_cursors()
    if connection.broken or not connection.open:
        connection.broken = True
        return False
    needed = mode == "always" or (mode == "dirty" and (connection.dirty or hidden_code))
    try:
        if needed:
            _reset_session(connection)
        elif connection.dirty or not (autocommit and connection.get_autocommit()):
            connection.rollback()
            connection.autocommit(autocommit)
        connection.dirty = False
    except MySQLdb.Error:
        connection.broken = True
    return needed and not connection.broken


def _reset_session(connection: PooledConnection) -> None:
    function = _mysql_reset_connection()
    # The pointer goes past the driver's own lock and may change on reconnect: it is fetched
    # anew each time, and used by nobody but the sole owner of the connection.
    capsule = connection._get_native_connection()
    if function is None or function(_pointer(capsule, b"_mysql.connection.native_connection")):
        connection.broken = True
        return
    connection.query(connection.baseline)
    while True:
        connection.store_result()
        if connection.next_result() != 0:
            return


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


@cache
def _mysql_reset_connection() -> Any:
    """The C function, which mysqlclient links but does not offer; ``None`` if it is not there.

    Found through the driver's own extension module, so that it is that of whichever client
    library the driver was linked with.
    """
    try:
        function = ctypes.CDLL(MySQLdb._mysql.__file__).mysql_reset_connection
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_int
    function.argtypes = (ctypes.c_void_p,)
    return function
