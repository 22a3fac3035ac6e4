"""What a pool asks about sessions on MySQL and MariaDB."""

from __future__ import annotations

import logging
import random
import select
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any, NamedTuple

import MySQLdb

from pooldaemon.pool import fork_safety
from pooldaemon.pool.drivers.base import DriverDialect
from pooldaemon.pool.drivers.credentials import Credentials
from pooldaemon.pool.drivers.mysql import reset, setup_timeout
from pooldaemon.pool.drivers.mysql.abandoned import Abandoned, AbandonedSessions
from pooldaemon.pool.drivers.mysql.baseline import Baselines
from pooldaemon.pool.drivers.mysql.connection import MySQLLease, PooledConnection
from pooldaemon.pool.drivers.mysql.connector import Connector
from pooldaemon.pool.drivers.mysql.keepalive import is_given_up, keep_saying_goodbye, tcp_state
from pooldaemon.pool.drivers.mysql.setup_replay import settled, without_repetition
from pooldaemon.pool.drivers.mysql.sql.classify import DIRTY, shape
from pooldaemon.pool.drivers.mysql.sql.side_effects import SideEffects
from pooldaemon.pool.drivers.mysql.transaction import TransactionLease
from pooldaemon.pool.drivers.provider import PasswordProvider
from pooldaemon.pool.queue.lease import Lease
from pooldaemon.pool.watchdog import shut_down, watchdog

logger = logging.getLogger("pooldaemon.pool")

SERVER_FULL = frozenset(
    {
        1040,  # too many connections
        1203,  # max_user_connections, the server's setting
        1226,  # max_user_connections, the account's limit
    }
)
"""The server is full: connecting is tried again within the borrower's timeout."""

FULL_RETRY_DELAY = 0.05
"""Seconds between such tries, times a random 0.5 to 1.5, so that processes that were refused
together
do not come back together."""

PING_TIMEOUT = 5.0
"""Seconds until an unanswered ping is given up. mysqlclient has no time limit for a ping."""

RESET_TIMEOUT = 5.0
"""Seconds for all that is sent when a connection is returned: a rollback, or a reset and what
restores the state after set-up. A server that needs longer to roll back finishes without us."""

UPKEEP_TIMEOUT = 30.0
"""Seconds for one look at the schema, on a connection that nobody uses: MariaDB reads files."""

CLOSE_WAIT = 0.05
"""Seconds that a close waits for the server to end the session; measured: up to 5 ms on a busy
machine. A session in the middle of a statement may end seconds later."""

LINGER_POLL = 0.02
"""Seconds between looks at closed sessions that have not ended."""

LINGER_LIMIT = 60.0
"""Seconds after which a closed session that the server did not end is no longer counted: behind a
broken network there is no end to wait for."""

UNHEARD_LIMIT = 2.0
"""The same if the server's machine has not even acknowledged the close, so no packet gets through.
On
a working network the acknowledgement takes a round trip."""

TCP_FIN_WAIT1 = 4
"""Linux's number for the state of a socket whose end has not been acknowledged."""

IDLE_SHARE = 0.9
"""A connection that has been idle for this share of the server's ``wait_timeout`` is not used: the
server might end the session during the first statement."""


class Remains(NamedTuple):
    """What stands for a session that is closed and has not ended on the server.

    :ivar watch: a descriptor of its socket, which shows its end.
    """

    watch: socket.socket
    session: Abandoned


class MySQLDialect(DriverDialect):
    """
    :param ping_after: seconds of idleness after which a poll of the socket is not trusted
        and the server is pinged.
    :param mode: ``"session"`` or ``"transaction"``.
    :param reset: ``"dirty"``, ``"always"`` or ``"never"``.
    :param hidden_code: ``"prove"`` or ``"harmless"``.
    :param autocommit: the sessions' autocommit.
    :param connect_timeout: seconds, the driver's option of this name.
    :param init_command: the driver's option of this name, which it runs out of our sight.
    :param password_provider: with one, *open_session* is called with ``password=…``.
    """

    lease_class = MySQLLease
    side_effects: SideEffects

    def __init__(  # noqa: PLR0913 - they are settings
        self,
        open_session: Callable[..., Any],
        *,
        ping_after: float,
        mode: str,
        reset: str,
        autocommit: bool,
        hidden_code: str = "prove",
        connect_timeout: float = setup_timeout.CONNECT_TIMEOUT,
        init_command: str = "",
        password_provider: PasswordProvider | None = None,
    ) -> None:
        super().__init__(open_session)
        self._ping_after = ping_after
        self._transaction_mode = mode == "transaction"
        self._reset = reset
        self._autocommit = autocommit
        self._credentials = Credentials(password_provider) if password_provider else None
        self._connector = Connector(self._open_session, connect_timeout)
        self._abandoned = AbandonedSessions()
        self._lingering: deque[tuple[Remains, float]] = deque()
        """Closed, but not ended on the server; and since when."""
        self._separates = reset != "never"
        self._baselines = Baselines(init_command, compared=self._separates)
        self._always_reset = reset == "always"
        """Reset even if all statements were clean."""
        self.side_effects = SideEffects(
            proves=reset == "dirty" and hidden_code == "prove", was_wrong=self._mark_all
        )
        self._connections: weakref.WeakSet[PooledConnection] = weakref.WeakSet()

    def setting_up(self, connection: PooledConnection) -> AbstractContextManager[None]:
        return watchdog.bound(connection, setup_timeout.SETUP_TIMEOUT, needed=False)

    def session_is_set_up(self, connection: PooledConnection) -> None:
        connection.settled = settled(connection.setup or [])
        alike = self._baselines.record(connection, self.name)
        self._forget_borrower(connection)  # the set-up's statements
        if reset.reads_quotes_otherwise(connection, alike.charset):
            self._always_reset = self._separates
        connection.side_effects = self.side_effects
        self._connections.add(connection)
        with suppress(MySQLdb.Error):  # it will be asked again
            self.side_effects.begin(alike, self.account, connection.rows_of)
        with suppress(MySQLdb.Error):
            self._abandoned.end(connection)
        connection.dirty = False

    def upkeep(self, connection: PooledConnection, now: float) -> Callable[[Any], bool] | None:
        if self.side_effects.has_expired(now):
            self._mark_all()
            self.reset(connection)
        if connection.broken or not self.side_effects.is_due(now):
            return None
        return self._read_side_effects

    def _read_side_effects(self, connection: PooledConnection) -> bool:
        with watchdog.bound(connection, UPKEEP_TIMEOUT, needed=False):
            return self.side_effects.read_piece(connection.rows_of)

    def _mark_all(self) -> None:
        """Their statements were classified by knowledge that no longer holds."""
        for each in self._all_connections():
            each.dirty = True

    def _all_connections(self) -> list[PooledConnection]:
        while True:
            try:
                return list(self._connections)
            except RuntimeError:  # one was added meanwhile
                continue

    def _open(self, deadline: float | None) -> Any:
        connect = partial(self._connect, deadline)
        if self._credentials is None:
            return connect()
        return self._credentials.log_in(connect, self.name, deadline)

    def _connect(self, deadline: float | None, **login: Any) -> PooledConnection:
        while True:
            try:
                connection = PooledConnection.adopt(self._connector.connect(**login))
            except MySQLdb.OperationalError as error:
                pause = FULL_RETRY_DELAY * random.uniform(0.5, 1.5)
                full = error.args[0] in SERVER_FULL
                if not full or deadline is None or time.monotonic() + pause >= deadline:
                    raise
            else:
                connection.transaction_mode = self._transaction_mode
                return connection
            time.sleep(pause)

    def is_alive(self, connection: PooledConnection, idle: float) -> bool:
        if connection.broken or not connection.open:
            return False
        # An idle session's socket is silent. It becomes readable when the server ends the session.
        if connection.poll.poll(0):
            self._connector.doubtful = True
            return False
        if idle >= connection.wait_timeout * IDLE_SHARE:
            return False
        if connection.dirty and connection.setup is None:  # it was marked while it was idle
            self.reset(connection)
            return self.is_alive(connection, 0.0)
        return idle < self._ping_after or _ping(connection)

    def reset(self, connection: PooledConnection) -> bool:
        was_reset = False
        if (
            self._always_reset
            or connection.dirty
            or connection.broken
            or connection.unbuffered
            or not connection.get_autocommit()
        ):
            was_reset = self._clean_up(connection)
        # else the usual case: every statement was clean, no transaction is open
        self._forget_borrower(connection)
        return was_reset

    def _forget_borrower(self, connection: PooledConnection) -> None:
        connection.foreign_results = self._separates or self._transaction_mode
        connection.ran = DIRTY
        connection.id_is_own = False
        if connection.generated_ids:
            connection.generated_ids.clear()

    def repeat_set_up(self, connection: PooledConnection, run: Callable[[], object]) -> None:
        # A session that is never reset may be in another state by now.
        if self._separates and connection.settled:
            without_repetition(connection, run)
        else:
            run()

    def last_statement(self, connection: PooledConnection | None) -> str:
        return "" if connection is None else shape(connection.last_statement)

    def begin_transaction_lease(
        self, borrow: Callable[[], Lease], first: Lease
    ) -> TransactionLease:
        return TransactionLease(first, borrow, self._can_spare)

    def _can_spare(self, connection: PooledConnection) -> bool:
        # The same rule as in reset(): the session is clean, or it is lost with all that was on it.
        if (
            self._always_reset
            or connection.dirty
            or (connection.broken and not connection.lost)
            or (connection.unbuffered and connection.has_unread_rows())
            or not connection.open  # closed by hand, perhaps in a transaction
            or not connection.get_autocommit()
        ):
            return False
        # The next statement may come from another borrower; this one is treated alike.
        self._forget_borrower(connection)
        return True

    def _clean_up(self, connection: PooledConnection) -> bool:
        connection.foreign_results = False  # nobody asks for results now
        needed = self._reset != "never" and (self._always_reset or connection.dirty)
        was_reset = False
        try:
            with watchdog.bound(connection, RESET_TIMEOUT):
                was_reset = reset.clean_up(connection, reset=needed, autocommit=self._autocommit)
                if was_reset and connection.changed_schema:
                    connection.changed_schema = False
                    with suppress(MySQLdb.Error):
                        self.side_effects.read_little(connection.rows_of)
                    connection.dirty = False
        except RuntimeError:  # no thread could be started to watch it
            connection.broken = True
        return was_reset and not connection.broken

    def _descriptors(self, connection: PooledConnection) -> tuple[int, ...]:
        return connection.fileno(), connection.watch

    def _close(self, connection: PooledConnection) -> object | None:
        # The server lets go of a session a little after the client has closed it. Until then
        # it counts against the account's limit.
        if connection.watch < 0:  # second call: an exception interrupted the first
            return None
        watchdog.forget(connection)
        if connection.lost:
            self._connector.doubtful = True
        session = Abandoned(connection.session, connection.local_port)
        if is_given_up(connection.watch):
            self._abandoned.add(session)
        keep_saying_goodbye(connection.watch)
        if not _takes_goodbye(connection):
            shut_down(connection.watch)
        with suppress(MySQLdb.Error), fork_safety.not_now():
            connection.close()
        connection.proxy = None  # which refers to it
        descriptor, connection.watch = connection.watch, -1
        watch = socket.socket(fileno=descriptor)
        with suppress(OSError):  # after a lost connection the driver says no goodbye
            watch.shutdown(socket.SHUT_WR)
        if _has_ended(watch, CLOSE_WAIT):
            return None
        return Remains(watch, session)

    def _linger(self, remains: Remains) -> None:
        self.forget_ended()
        self._lingering.append((remains, time.monotonic()))

    def _await_end(self) -> None:
        time.sleep(LINGER_POLL)
        self.forget_ended()

    def stop_watching(self) -> None:
        while self._lingering:
            remains, _ = self._lingering.popleft()
            remains.watch.close()
            self._end(remains)

    def forget_ended(self) -> None:
        now = time.monotonic()
        # A session stays in the list until it is no longer counted. Other threads may look, too.
        for one in self._lingering.copy():
            remains, since = one
            is_unheard = tcp_state(remains.watch) == TCP_FIN_WAIT1
            limit = UNHEARD_LIMIT if is_unheard else LINGER_LIMIT
            if now - since > limit:
                logger.warning("A closed session did not end within %g s", limit)
                if is_unheard:
                    self._abandoned.add(remains.session)
            elif not _has_ended(remains.watch, 0):
                continue
            self._end(remains)
            remains.watch.close()
            with suppress(ValueError):
                self._lingering.remove(one)


def _ping(connection: PooledConnection) -> bool:
    try:
        with watchdog.bound(connection, PING_TIMEOUT):
            connection.ping()
    except (MySQLdb.Error, RuntimeError):  # or no thread could be started to watch it
        return False
    return not connection.broken


def _takes_goodbye(connection: PooledConnection) -> bool:
    """Whether the goodbye can be sent without waiting. It has no answer."""
    poll = select.poll()
    poll.register(connection.watch, select.POLLOUT)
    return bool(poll.poll(0))


def _has_ended(watch: socket.socket, seconds: float) -> bool:
    """Whether the server closes its end within *seconds*; closes *watch* if so."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    try:
        poll.register(watch, select.POLLIN)
        watch.setblocking(False)
    except (OSError, ValueError):  # another thread has closed it
        return True
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        try:
            rest = watch.recv(4096)  # an unread result or TLS's goodbye may come first
        except OSError:
            rest = b""
        if not rest:
            watch.close()
            return True
    return False
