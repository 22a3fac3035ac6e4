"""Functions of the C client library that mysqlclient does not offer.

They are looked up through the driver's own extension module, so they belong to the library with
which the driver was linked.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import MySQLdb

INIT_COMMAND = 3
"""``MYSQL_INIT_COMMAND`` of ``enum mysql_option``, the same number in both libraries."""

_FIXED_ARGUMENTS = {
    "mysql_reset_connection": (ctypes.c_void_p,),
    "mysql_get_optionv": (ctypes.c_void_p, ctypes.c_int),
}

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


def reset(connection: Any) -> bool:
    """Send ``COM_RESET_CONNECTION``; returns whether that was possible and succeeded."""
    function = _function("mysql_reset_connection")
    return function is not None and not function(_native(connection))


def init_commands(connection: Any) -> list[bytes] | None:
    """What the library sent by itself when *connection* was opened: the option ``init_command``,
    and ``init-command`` of an option file. ``None``: unknown (MySQL's library hides it)."""
    function = _function("mysql_get_optionv")
    if function is None:
        return None
    commands, count = ctypes.POINTER(ctypes.c_char_p)(), ctypes.c_uint()
    found = ctypes.byref(commands), ctypes.byref(count)
    failed = function(_native(connection), INIT_COMMAND, *found)
    return None if failed else [commands[index] or b"" for index in range(count.value)]


def _native(connection: Any) -> Any:
    # The pointer bypasses the driver's lock and may change on reconnect. So it is fetched anew each
    # time, and only by the sole user of the connection.
    return _pointer(connection._get_native_connection(), b"_mysql.connection.native_connection")


@cache
def _function(name: str) -> Any:
    """``None`` if the library has none of this name."""
    try:
        function = getattr(ctypes.CDLL(MySQLdb._mysql.__file__), name)
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_int
    function.argtypes = _FIXED_ARGUMENTS[name]  # some platforms pass any further ones differently
    return function
