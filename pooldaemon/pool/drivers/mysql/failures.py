"""Errors after which a connection is not used again, and a connection class that notes all of them.

After a call that failed halfway nobody knows what the session will answer next: half a result may
still arrive. The driver raises one error, to the caller. After that the socket may be silent, and
the connection looks like a good one.
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
"""Server errors after which a connection is not used again (MySQL 9, MariaDB 10.11)."""

READ_ONLY_TRANSACTION = 1792
"""The same, unless the session was made read-only on purpose: see ``reset.clean_up``."""

FIRST_OF_SERVER = 1000
"""Smaller numbers come from the operating system, or mean that there is none."""
CLIENT_ERRORS = (range(2000, 3000), range(5000, 6000))
"""Errors of the client libraries; the second range is MariaDB's."""

NEVER_SENDS = frozenset(
    {
        *("_get_native_connection", "affected_rows", "character_set_name", "close", "cursor"),
        *("errno", "error", "escape", "escape_string", "field_count", "fileno", "get_autocommit"),
        *("get_character_set_info", "get_host_info", "get_proto_info", "get_server_info", "info"),
        *("insert_id", "literal", "more_results", "sqlstate", "string_literal", "thread_id"),
        "warning_count",
    }
)
"""Methods of the driver's connection that send nothing and answer from memory. (``close`` sends a
goodbye, but no later call can go wrong.)"""


def ends_use(error: BaseException) -> bool:
    """Whether a connection can't be used after this *error* of the driver."""
    number = error.args[0] if error.args else 0
    if not isinstance(number, int):  # raised by the driver itself, which has sent nothing
        return False
    return number in FATAL_ERRORS or number < FIRST_OF_SERVER or _is_clients(number)


def _is_clients(number: int) -> bool:
    return any(number in numbers for numbers in CLIENT_ERRORS)


class NotingConnection(Connection):  # type: ignore[misc]  # the driver has no types
    """Notes every failure of a call that the driver sends, whoever made it."""

    broken: bool
    """Not to be used again."""
    lost: bool
    """``broken`` by an error of the server: nothing on the session can be kept."""
    dirty: bool
    """The session may contain something that its borrower left."""
    refused_write: bool
    """A write was refused because the session or the server is read-only."""

    def note_error(self, error: BaseException) -> None:
        """Mark the connection as ``broken`` if *error* is one after which it can't be used."""
        if ends_use(error):
            self.broken = self.lost = True
        elif error.args and error.args[0] == READ_ONLY_TRANSACTION:
            # The reason is looked for when the connection is returned.
            self.refused_write = self.dirty = True


Method = Callable[..., Any]


def _noting(method: Method) -> Method:
    @wraps(method)
    def noting(self: NotingConnection, *args: Any, **kwargs: Any) -> Any:
        try:
            result = method(self, *args, **kwargs)
        except MySQLdb.Error as error:
            self.note_error(error)
            raise
        if _is_clients(self.errno()):  # stat() returns the error's text instead of raising
            self.broken = self.lost = True
        return result

    return noting


def _noting_alone(method: Method) -> Method:
    """For methods that every statement calls: without arguments the wrapper takes a fifth of the
    time."""

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
    """The driver's methods that may send something, including those of later versions."""
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
