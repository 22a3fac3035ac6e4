"""Undoes what a borrower may have left on a MySQL session."""

from __future__ import annotations

import MySQLdb

from pooldaemon.pool.drivers.mysql import client_library
from pooldaemon.pool.drivers.mysql.baseline import variable_of_transactions
from pooldaemon.pool.drivers.mysql.connection import PooledConnection

# The second byte of a character may be a quote or a backslash.
_QUOTES_INSIDE = frozenset({"big5", "cp932", "gb18030", "gbk", "sjis"})


def reads_quotes_otherwise(connection: PooledConnection, charset: str) -> bool:
    """Whether the server, in its *charset*, would misread quotes in what the client escapes."""
    return charset in _QUOTES_INSIDE and charset != connection.character_set_name()


def clean_up(connection: PooledConnection, *, reset: bool, autocommit: bool) -> bool:
    """Make the session clean for its next borrower, or mark the connection ``broken``.

    :param reset: undo everything; otherwise only end an open transaction.
    :param autocommit: what the session's autocommit is to be.
    :returns: whether it was reset.
    """
    if (
        connection.has_unread_rows()
        or connection.broken
        or not connection.open
        or connection.more_results()  # of several statements in one: a reset would not return
    ):
        connection.broken = True
        return False
    try:
        if connection.refused_write and _is_read_only(connection):
            # A primary that turned into a replica: the next connect may find the new primary.
            connection.broken = True
        elif reset:
            _reset_session(connection)
        else:
            connection.rollback()
            connection.autocommit(autocommit)
        connection.dirty = connection.refused_write = False
    except MySQLdb.Error:
        connection.broken = True
    return reset and not connection.broken


def _is_read_only(connection: PooledConnection) -> bool:
    """Whether the server makes sessions read-only. Otherwise the set-up or the borrower did."""
    read_only = variable_of_transactions(connection, "read_only")
    return bool(connection.ask_aside(f"SELECT @@global.{read_only}").fetch_row()[0][0])


def _reset_session(connection: PooledConnection) -> None:
    baseline = connection.baseline
    if baseline.lost or not client_library.reset(connection):
        connection.broken = True
        return
    baseline.restore(connection)
    if baseline.lost:  # as the first reset has shown
        connection.broken = True
