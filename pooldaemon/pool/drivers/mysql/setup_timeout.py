"""A time limit for what the driver sends while it opens a session.

``connect_timeout`` holds for the login. After that the driver's constructor sends statements of its
own, ``SET NAMES`` among them, without a limit and on a socket that nobody else knows yet. Between
the two it iterates over its converters (``conv``), and our mapping learns the socket there. With a
driver that does not do that, there is no limit, as there was none before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import MySQLdb

from pooldaemon.pool.watchdog import watchdog

CONNECT_TIMEOUT = 10
"""Seconds (``OPTIONS["connect_timeout"]``). The driver's own default is to wait for ever."""

SETUP_TIMEOUT = 10.0
"""Seconds for what the driver sends after a login, and then for the set-up of the session,
receivers of ``connection_created`` included."""


class _Socket:
    """A connection that is being opened, as the watchdog sees it."""

    def __init__(self, descriptor: int) -> None:
        # A duplicate: the driver may close its own meanwhile.
        self.watch = os.dup(descriptor)
        self.broken = self.lost = False

    def close(self) -> None:
        watchdog.forget(self)
        os.close(self.watch)


class _Converters(dict[Any, Any]):
    def __init__(self, converters: Mapping[Any, Any], stack: ExitStack) -> None:
        super().__init__(converters)
        self._stack = stack

    def items(self) -> Any:
        connection = sys._getframe(1).f_locals.get("self")
        if getattr(connection, "open", False):  # the first iteration comes before the login
            with suppress(MySQLdb.Error, OSError):
                socket = _Socket(connection.fileno())  # type: ignore[union-attr]
                self._stack.callback(socket.close)
                bound = watchdog.bound(socket, SETUP_TIMEOUT, needed=False)
                self._stack.enter_context(bound)
        return super().items()


@contextmanager
def bound_opening(converters: Mapping[Any, Any]) -> Iterator[Mapping[Any, Any]]:
    """Converters for a ``MySQLdb.connect()`` in the block, which limit what it sends."""
    with ExitStack() as stack:
        yield _Converters(converters, stack)
