"""Opens sessions soon after a network failure ends.

TCP repeats an unanswered request for a connection after 1, 2 and 4 seconds (Linux from 6.5 on: a
few times after one). So a connect that began during a failure succeeds late. While the network is
in doubt, a connect is therefore made in short attempts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import MySQLdb

ATTEMPT = 2
"""Seconds of one attempt. TCP sends its request twice in them."""

UNREACHED = frozenset({2002, 2003})
"""Errors for no TCP connection, of MariaDB's and MySQL's client library."""
LOST = 2013
"""The error for a TCP connection without an answer."""


class Connector:
    """Calls *open_session*, for *timeout* seconds at most. Thread-safe.

    :param timeout: the driver's ``connect_timeout``; 0: it has none.
    :ivar doubtful: a session was lost, or a connect got no answer, and none has succeeded since.
    """

    def __init__(
        self,
        open_session: Callable[..., Any],
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = open_session
        self._timeout = timeout
        self._clock = clock
        self.doubtful = False

    def connect(self, **login: Any) -> Any:
        """:raises MySQLdb.OperationalError: that of the last attempt."""
        if not self.doubtful:
            return self._try(**login)
        left = self._timeout
        while self.doubtful and left >= 2 * ATTEMPT:
            began = self._clock()
            try:
                return self._try(connect_timeout=ATTEMPT, **login)
            except MySQLdb.OperationalError as error:
                took = self._clock() - began
                if took < ATTEMPT / 2:
                    raise  # refused, not unanswered
                if error.args[0] == LOST:
                    # The machine answers. A server that is slow to log in needs time, not attempts.
                    self.doubtful = False
                elif error.args[0] not in UNREACHED:
                    raise
                left -= took
        if left < self._timeout:
            login["connect_timeout"] = max(1, round(left))
        return self._try(**login)

    def _try(self, **login: Any) -> Any:
        try:
            session = self._open(**login)
        except MySQLdb.OperationalError as error:
            if error.args[0] in UNREACHED:
                self.doubtful = True
            raise
        self.doubtful = False
        return session
