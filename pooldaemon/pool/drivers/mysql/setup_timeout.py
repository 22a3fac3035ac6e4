"""A bound for what the driver sends while it opens a session.

``connect_timeout`` holds for the login. After that the driver's constructor sends statements of its
own, ``SET NAMES`` among them, without a bound and on a socket that nobody else knows yet. Between
the two it looks through its converters (``conv``), and so there the socket can be learnt. A driver
that did it otherwise would have no bound there, as it had before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import MySQLdb

from pooldaemon.pool.watchdog import watchdog

SETUP_TIMEOUT = 10.0
"""Seconds for what the driver sends after a login, and then for the set-up of the session,
receivers of ``connection_created`` included."""


class _Socket:
    """What the watchdog knows of a connection that is being opened."""

    def __init__(self, descriptor: int) -> None:
        # A second one: the driver may close its own in the middle.
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
        if getattr(connection, "open", False):  # not when it looks for the first time
            with suppress(MySQLdb.Error, OSError):
                socket = _Socket(connection.fileno())  # type: ignore[union-attr]
                self._stack.callback(socket.close)
                bound = watchdog.bound(socket, SETUP_TIMEOUT, needed=False)
                self._stack.enter_context(bound)
        return super().items()


@contextmanager
def bound_opening(converters: Mapping[Any, Any]) -> Iterator[Mapping[Any, Any]]:
    """The same *converters*, for a ``MySQLdb.connect()`` in the block: what it sends is bound."""
    with ExitStack() as stack:
        yield _Converters(converters, stack)
