"""Errors after which a connection is not used again, and a connection on which none goes unseen.

A call that failed halfway leaves a session of which nobody knows what it will answer next: half a
result may be on its way. The driver says so once, to whoever made the call. After that the socket
may be silent, and the connection looks as good as any.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import FunctionType, MethodDescriptorType
from typing import Any

import MySQLdb
from MySQLdb.connections import Connection

FATAL_ERRORS = frozenset(
    {
        1053,  # server shutdown in progress
        1152,  # aborted connection
        *range(1153, 1162),  # packets too large, out of order, not read or written in time
        1184,  # aborted connection, with the reason
        1927,  # connection was killed
        3169,  # session was killed
        4031,  # disconnected by the server because of inactivity
        # A primary that turned into a replica: the next connect may find the new primary.
        1290,  # running with --read-only
        1836,  # read only mode
    }
)
"""Errors of the server's after which a connection is not used again (MySQL 9, MariaDB 10.11)."""

READ_ONLY_TRANSACTION = 1792
"""The same, unless the session was told to be read-only: see :func:`.session.clean_up`."""

FIRST_OF_SERVER = 1000
"""Smaller numbers are the operating system's, or none."""
CLIENT_ERRORS = (range(2000, 3000), range(5000, 6000))
"""What the client libraries themselves report; the second range is MariaDB's."""

NEVER_SENDS = frozenset(
    {
        *("_get_native_connection", "affected_rows", "character_set_name", "close", "cursor"),
        *("errno", "error", "escape", "escape_string", "field_count", "fileno", "get_autocommit"),
        *("get_character_set_info", "get_host_info", "get_proto_info", "get_server_info", "info"),
        *("insert_id", "literal", "more_results", "sqlstate", "string_literal", "thread_id"),
        "warning_count",
    }
)
"""Methods of the driver's connection that answer from the client's memory. (``close`` says goodbye,
and there is no later call to be wrong.)"""


def ends_use(error: BaseException) -> bool:
    """Whether a connection is of no use after this *error* of the driver's."""
    number = error.args[0] if error.args else 0
    if not isinstance(number, int):  # the driver's own: it has sent nothing
        return False
    return number in FATAL_ERRORS or number < FIRST_OF_SERVER or _is_clients(number)


def _is_clients(number: int) -> bool:
    return any(number in numbers for numbers in CLIENT_ERRORS)


class NotingConnection(Connection):  # type: ignore[misc]  # the driver has no types
    """Notes the failure of whatever the driver sends, whoever called."""

    broken: bool
    """Not to be used again."""
    lost: bool
    """``broken`` by an error of the server's: there is nothing on it to be kept."""
    dirty: bool
    """The session may hold something of its borrower's."""
    refused_write: bool
    """It was read-only when something was to be written."""

    def note_error(self, error: BaseException) -> None:
        """Give the connection up if *error* is one after which it is of no use."""
        if ends_use(error):
            self.broken = self.lost = True
        elif error.args and error.args[0] == READ_ONLY_TRANSACTION:
            self.refused_write = self.dirty = True  # the give-back has to look into it


Method = Callable[..., Any]


def _noting(method: Method) -> Method:
    @wraps(method)
    def noting(self: NotingConnection, *args: Any, **kwargs: Any) -> Any:
        try:
            result = method(self, *args, **kwargs)
        except MySQLdb.Error as error:
            self.note_error(error)
            raise
        if _is_clients(self.errno()):  # stat() returns the error's text as if it were the answer
            self.broken = self.lost = True
        return result

    return noting


def _noting_alone(method: Method) -> Method:
    """For those in every statement: to hand on no arguments takes a fifth of the time."""

    @wraps(method)
    def noting(self: NotingConnection) -> Any:
        try:
            return method(self)
        except MySQLdb.Error as error:
            self.note_error(error)
            raise

    return noting


IN_EVERY_STATEMENT = frozenset({"next_result", "store_result"})


def may_send() -> list[str]:
    """The driver's methods that may send something, those of later versions included."""
    return [
        name
        for name in dir(Connection)
        if not name.startswith("_")
        and name not in NEVER_SENDS
        and isinstance(getattr(Connection, name), (FunctionType, MethodDescriptorType))
    ]


for _name in may_send():
    _wrap = _noting_alone if _name in IN_EVERY_STATEMENT else _noting
    setattr(NotingConnection, _name, _wrap(getattr(Connection, _name)))
