"""What a pool asks of a driver: open and close a session, check whether it is alive, reset it.

SQLAlchemy's pools call such an object a *dialect*. Sessions are counted here, because every session
begins and ends here, whatever class the pool has.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from pooldaemon.exceptions import PoolTimeout
from pooldaemon.pool import fork_safety
from pooldaemon.pool.queue.driver import Session
from pooldaemon.pool.queue.lease import Lease
from pooldaemon.pool.queue.limiter import ConnectionLimiter, Reserve
from pooldaemon.pool.tokens import Token, TokenLock

if TYPE_CHECKING:
    from pooldaemon.pool.queue.entry import EntryRef

UPKEEP_INTERVAL = 1.0
"""Seconds between looks for upkeep, in SQLAlchemy's own pools."""

DEFAULT_PATIENCE = 30.0
"""Seconds, as in SQLAlchemy's ``QueuePool``."""


class DriverDialect:
    """Base of the dialects; one object per pool, used by all its threads.

    :param open_session: called with the pool's entry, returns a new DB-API connection.
    """

    lease_class: type[Lease]
    """What its borrowers hold."""

    is_async = False
    has_terminate = False

    def __init__(self, open_session: Callable[[], Any]) -> None:
        self._opener = open_session
        self._sessions: set[weakref.ref[Session]] = set()
        """The sessions that count. One that an exception lost before it was known is dead and
        gone."""
        self._known: dict[int, Session] = {}
        """By the id of the connection, or of what stands for a closed one that has not ended."""
        self._levels: set[int] = {0}
        self._opening = TokenLock()
        self.name = ""
        """The pool's, for messages."""
        self.account = 0
        """A hash of the login parameters; the same in all processes of one fork."""
        self.side_effects: Any = None
        """What is known of triggers, views and functions; ``None`` where the driver does not
        ask."""
        self.cap: int | None = None
        """The most sessions at once; ``None``: the pool has no limit."""
        self.limiter = ConnectionLimiter()
        """Gives every session its permit."""
        self.reserve: Reserve | None = None
        """What the pool can give up for other pools, if its class supports that."""
        self.patience = DEFAULT_PATIENCE
        """Seconds to wait for a permit if the entry has no deadline."""
        self.opened = 0
        self._next_upkeep = 0.0

    @property
    def open_sessions(self) -> int:
        """Sessions that the server may have now, including those being opened or closed."""
        return len(self._sessions)

    @property
    def peak_sessions(self) -> int:
        """The most there have been at once."""
        return max(self._levels)

    def connect(self, entry: Any) -> Any:
        """Open a session for *entry* (SQLAlchemy's ``creator``)."""
        deadline = getattr(entry, "deadline", None)
        session = self._claim_session(self._claim_permit(entry), deadline)
        ref: EntryRef | None = getattr(entry, "ref", None)
        if ref is not None:
            ref.session = session  # closed if the entry is lost
        try:
            connection = session.connection = self._open(deadline)
            self._known[id(connection)] = session
            fork_safety.keep(connection, self._descriptors(connection))
        except BaseException:
            if ref is not None and session.connection is None:
                ref.session = None
            if session.connection is None:
                self._release(session)
            else:
                self.close_session(session)
            raise
        return connection

    def _claim_permit(self, entry: Any) -> Token:
        """Take the entry's permit, or wait for one if it has none because its connection was
        dead."""
        permit: Token | None = getattr(entry, "permit", None)
        if permit is not None:
            entry.permit = None
            return permit
        started = time.monotonic()
        since = getattr(entry, "since", started)
        deadline = getattr(entry, "deadline", started + self.patience)
        if (permit := self.limiter.wait(since, deadline)) is not None:
            return permit
        waited = time.monotonic() - started
        raise PoolTimeout(
            f"pool {self.name}: no connection could be opened in {waited:.1f} s: {self.limiter}",
            waited,
        )

    def _claim_session(self, permit: Token, deadline: float | None) -> Session:
        """Count one more session as soon as there is room under the cap.

        An entry is free as soon as its connection is closed here. On the server the session may
        last a little longer, and it counts until it has ended there.
        """
        session, started = Session(permit), time.monotonic()
        while not self._count(session):
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                self._release(session)
                raise PoolTimeout(
                    f"pool {self.name}: all {self.cap} sessions that it may have are still open on "
                    f"the server, closed ones included, after {now - started:.1f} s",
                    now - started,
                )
            self._await_end()
        return session

    def _count(self, session: Session) -> bool:
        """Count *session* if there is room; returns whether there was."""
        token = self._opening.wait()
        try:
            if self.cap is not None and len(self._sessions) >= self.cap:
                return False
            self._sessions.add(weakref.ref(session, self._sessions.discard))
            self._levels.add(len(self._sessions))
            self.opened += 1
            return True
        finally:
            del token

    def do_close(self, connection: Any) -> None:
        """Close the session. It counts until the server has let go of it."""
        if (session := self._known.get(id(connection))) is not None:
            self.close_session(session)

    do_terminate = do_close

    def close_session(self, session: Session) -> None:
        """Close it. May be called again if an exception interrupted the first call."""
        if (connection := session.connection) is None:  # it never got so far
            self._release(session)
            return
        try:
            remains = self._close(connection)
        except Exception:
            self._forget(connection)
            raise
        if remains is None:
            self._forget(connection)
        else:
            self._known[id(remains)] = session
            self._linger(remains)
            self._known.pop(id(connection), None)
        fork_safety.forget(connection)

    def _forget(self, connection: Any) -> None:
        self._end(connection)
        fork_safety.forget(connection)

    def _end(self, known_as: object) -> None:
        """Stop counting a session. Does nothing the second time."""
        if (session := self._known.pop(id(known_as), None)) is not None:
            self._release(session)

    def _release(self, session: Session) -> None:
        # The weak reference's callback does this only for sessions that an exception has lost.
        self._sessions.discard(weakref.ref(session))
        permit, session.permit = session.permit, None
        if permit is not None:
            self.limiter.release(permit)

    def do_rollback(self, proxy: Any) -> None:
        """What SQLAlchemy's own pools call whenever a connection is returned."""
        connection = proxy.dbapi_connection
        self.reset(connection)
        now = connection.last_used = time.monotonic()
        if now >= self._next_upkeep:
            self._next_upkeep = now + UPKEEP_INTERVAL
            if (work := self.upkeep(connection, now)) is not None:
                work(connection)

    def do_commit(self, proxy: Any) -> None:
        proxy.dbapi_connection.commit()

    def get_driver_connection(self, connection: Any) -> Any:
        return connection

    def _do_ping_w_event(self, connection: Any) -> bool:
        """What SQLAlchemy's own pools call at every borrow (``pre_ping``), also of a new
        connection."""
        return self.is_alive(connection, time.monotonic() - connection.last_used)

    def setting_up(self, connection: Any) -> AbstractContextManager[None]:
        """A context for the set-up of a new session; it may limit its time."""
        return nullcontext()

    def session_is_set_up(self, connection: Any) -> None:
        """Called when Django has set up a new session: every borrower gets this state."""

    def repeat_set_up(self, connection: Any, run: Callable[[], object]) -> None:
        """Call *run*, which repeats the set-up; the session already has what it sets."""
        run()

    def upkeep(self, connection: Any, now: float) -> Callable[[Any], bool] | None:
        """Asked about once a second, with a clean connection that nobody uses.

        :returns: a function that works with a connection for some milliseconds and returns whether
            there is more to do; ``None``: there is nothing to do.
        """
        return None

    def begin_transaction_lease(self, borrow: Callable[[], Lease], first: Lease) -> Any:
        """For transaction mode, a thread's borrows, one after the other.

        :param borrow: returns a connection that is set up.
        :param first: a connection that has been borrowed already.
        """
        raise NotImplementedError("this driver has no transaction mode")

    def forget_ended(self) -> None:
        """Stop counting closed sessions that the server has ended meanwhile."""

    def stop_watching(self) -> None:
        """Stop counting closed sessions: the pool is given up."""

    def _open_session(self, **login: Any) -> Any:
        with fork_safety.not_now():
            return self._opener(**login)

    # -- what a driver answers --------------------------------------------------------

    def _open(self, deadline: float | None) -> Any:
        """Open a session. If the server is full, try until *deadline* (monotonic clock)."""
        return self._open_session()

    def _descriptors(self, connection: Any) -> tuple[int, ...]:
        """Those of the session's socket, if it has one."""
        return ()

    def _close(self, connection: Any) -> object | None:
        """Close the session; returns an object for it if it may still exist on the server."""
        connection.close()
        return None

    def _linger(self, remains: Any) -> None:
        """Keep the object for a closed session, to look later whether it has ended."""

    def _await_end(self) -> None:
        """Wait a little for a closed session to end on the server."""
        time.sleep(0.01)

    def last_statement(self, connection: Any) -> str:
        """The last one that was sent, without its data; empty if that is not known."""
        return ""

    def is_alive(self, connection: Any, idle: float) -> bool:
        """Whether *connection* can be lent after *idle* seconds without use."""
        return True

    def reset(self, connection: Any) -> bool:
        """Remove what its borrower left on the session; called when it is returned.

        :returns: whether that took a real reset, more than ending a transaction.
        """
        connection.rollback()
        return False
