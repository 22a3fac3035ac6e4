"""What a borrower may have left on a MySQL session, and how it is undone."""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import Any

import MySQLdb

from pooldaemon.pool.connection import PooledConnection
from pooldaemon.pool.hidden import HIDDEN_CODE
from pooldaemon.pool.statements import DIRTY

BASELINE = """
SELECT DATABASE(), @@character_set_client, @@collation_connection, @@session.sql_mode, @@autocommit,
  @@{isolation}, CURRENT_ROLE(), @@wait_timeout
"""
"""What a reset loses; and how long the session may idle."""

# How Django sets the isolation level, which is in the baseline by its value.
_ISOLATION = re.compile(rb"SET SESSION TRANSACTION ISOLATION LEVEL [A-Z ]+")


def record_baseline(connection: PooledConnection, init_command: str) -> None:
    """End the set-up of a new session: remember what brings it back to this state.

    Usually this is one statement; each is sent by itself. (Several in one packet are a trap: a
    KILL QUERY at the wrong moment makes the server announce a further result and send none.)

    :param init_command: the driver's option of this name, which ran out of our sight.
    """
    setup, connection.setup = connection.setup or [], None
    mariadb = "MariaDB" in connection.get_server_info()
    isolation = "tx_isolation" if mariadb else "transaction_isolation"
    database, charset, collation, sql_mode, autocommit, level, role, wait_timeout = _fetch_row(
        connection, BASELINE.format(isolation=isolation)
    )
    if role and mariadb:  # MySQL gives a list of roles, quoted already
        role = _quoted(role)
    values = (
        f"SET NAMES {charset} COLLATE {collation}, SESSION sql_mode = '{sql_mode}', "
        f"SESSION {isolation} = '{level}', SESSION autocommit = {autocommit:d}"
    )
    encode = connection.encoding
    statements = [init_command.encode(encode), *setup, values.encode(encode)]
    connection.baseline = [
        statement
        for each in statements
        if (statement := each.strip(b"; \t\r\n")) and not _ISOLATION.fullmatch(statement)
    ]
    elsewhere = [f"SET ROLE {role or 'NONE'}", *([f"USE {_quoted(database)}"] if database else [])]
    connection.elsewhere = [statement.encode(encode) for statement in elsewhere]
    connection.wait_timeout = wait_timeout
    connection.dirty = False
    connection.ran = DIRTY
    connection.told_ids.clear()
    connection.foreign_results = connection.transaction_mode  # those of the set-up


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def runs_hidden_code(connection: PooledConnection) -> bool:
    """Whether the server has (or may hide) triggers, views or functions that could act unseen."""
    return bool(_fetch_row(connection, HIDDEN_CODE)[0])


def _fetch_row(connection: PooledConnection, statement: str) -> Any:
    return connection.ask(statement).fetch_row()[0]


def clean_up(connection: PooledConnection, *, reset: bool, autocommit: bool) -> bool:
    """Make the session clean for its next borrower, or mark the connection ``broken``.

    :param reset: take back everything; otherwise only an open transaction is ended.
    :param autocommit: what the session's autocommit is to be.
    :returns: whether it was reset.
    """
    if (
        connection.has_unread_rows()
        or connection.broken
        or not connection.open
        or connection.more_results()  # of a cursor's several statements: never reset over them
    ):
        connection.broken = True
        return False
    try:
        if reset:
            _reset_session(connection)
        else:
            connection.rollback()
            connection.autocommit(autocommit)
        connection.dirty = False
    except MySQLdb.Error:
        connection.broken = True
    return reset and not connection.broken


def _reset_session(connection: PooledConnection) -> None:
    function = _mysql_reset_connection()
    # The pointer goes past the driver's own lock and may change on reconnect: it is fetched
    # anew each time, and used by nobody but the sole owner of the connection.
    capsule = connection._get_native_connection()
    if function is None or function(_pointer(capsule, b"_mysql.connection.native_connection")):
        connection.broken = True
        return
    statements = connection.baseline
    if connection.went_elsewhere:
        connection.went_elsewhere = False
        statements = connection.elsewhere + statements
    for statement in statements:
        connection.ask(statement)
        while connection.next_result() == 0:  # init_command alone may be several
            connection.store_result()


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
