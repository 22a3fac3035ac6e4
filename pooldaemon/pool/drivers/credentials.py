"""The password of a pool: asked for at each connect, kept while it lasts, dropped when refused."""

from __future__ import annotations

import _thread
import contextvars
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pooldaemon.backoff import Backoff
from pooldaemon.exceptions import PasswordProviderError
from pooldaemon.pool.drivers.provider import Answer, Password, PasswordProvider, read_answer
from pooldaemon.pool.tokens import POLL, Token, TokenLock

ACCESS_DENIED = 1045
"""The server's error for a wrong password."""

RENEW_SHARE, RENEW_MARGIN = 0.1, 60.0
"""A kept password is renewed this share of its lifetime before its end, but not more than so many
seconds: a login that began with it has to be over by then."""

PATIENCE = 10.0
"""Seconds to wait for a provider where the borrower has no ``timeout``: with SQLAlchemy's own pools
and outside a pool. As long as a connect may take."""

LEAST_PATIENCE = 1.0
"""Seconds it gets all the same when the ``timeout`` is 0, or was spent in the queue."""

HUNG_AFTER, MOST_CALLS = 30.0, 3
"""A call that has taken so many seconds is not counted on any more, and another one is begun; but
each may be a thread lost for ever, so there are never more than so many."""

FIRST_LOGIN = 1.0
"""Seconds for which logins wait for the outcome of an earlier one."""

LONGEST_POLL = 0.02
"""Seconds between looks at the outcome. A login takes a tenth of it, with TLS twice as long."""

LOOK = 0.5
"""Seconds after which a borrower that waits for the provider looks whether it is asked at all."""

FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
"""Seconds without a login after one was refused; they double with each further refusal."""


class Credentials:
    """Logs in with what a password provider returns.

    Thread-safe. Nothing is called under its lock. It belongs to its pool, so a forked child begins
    with one of its own. An exception may be raised at any line: a login is under way, and the
    provider is asked, as long as the :class:`.tokens.Token` lives that stands for it.

    :param clock: of seconds, monotonic.
    """

    def __init__(
        self, provider: PasswordProvider, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._lock = TokenLock()
        self._logins: deque[weakref.ref[Token]] = deque()
        """Under way, or over and not yet taken out."""
        self._last_success = Token()
        """Another one after each login."""
        self._calls: deque[_Call] = deque()
        """Of the provider; the newest is the last."""
        self._kept: tuple[Password, float] | None = None
        """A password and until when it is used."""
        self._refusal: Any = None
        """The last one."""
        self._retry_at = 0.0
        """No login before."""
        self._backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)

    def log_in(
        self, open_session: Callable[..., Any], name: str, deadline: float | None = None
    ) -> Any:
        """Call *open_session* with ``password=…``, and a second time if the server refuses it.

        The second time only with another password; after that, nobody logs in for a while.

        :param name: of the pool, for messages.
        :param deadline: until when to wait for the provider (monotonic clock).
        :raises PasswordProviderError: there is no password.
        :raises Exception: what *open_session* raises; a refusal says whose password it was.
        """
        refused: Password | None = None
        while True:
            session, refused = self._try_once(open_session, name, deadline, refused)
            if session is not None:
                return session

    def password(self, name: str, deadline: float | None = None) -> Password:
        """The kept password, or a new one; arguments and errors as for :meth:`log_in`."""
        if (kept := self._usable()) is not None:
            return kept
        call = self._join_call()
        if isinstance(call, Password):
            return call
        patience = PATIENCE
        if deadline is not None:
            patience = max(deadline - self._clock(), LEAST_PATIENCE)
        return call.result(name, patience)

    # -- asking -----------------------------------------------------------------------

    def _usable(self) -> Password | None:
        """The kept password, as long as it lasts."""
        kept = self._kept
        return kept[0] if kept is not None and self._clock() < kept[1] else None

    def _join_call(self) -> _Call | Password:
        """The call to wait for, which runs unless an exception has ended it; or its answer.

        A call may end between the caller's look for a kept password and this one.
        """
        lock = self._lock.wait()
        now = self._clock()
        if (kept := self._usable()) is not None:
            return kept
        for call in list(self._calls):
            if not call.is_running:
                with suppress(ValueError):
                    self._calls.remove(call)
        if self._calls:
            newest = self._calls[-1]
            newest.is_outdated = newest.is_outdated or now - newest.began >= HUNG_AFTER
            if not newest.is_outdated or len(self._calls) >= MOST_CALLS:
                return newest
        runner = Token()
        call = _Call(self._provider, now, runner, self._keep)
        self._calls.append(call)
        thread = threading.Thread(
            target=call.run, args=(runner,), name=self._provider.name, daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # there are too many, or the interpreter is shutting down
            del lock
            call.run(runner)
        return call

    def _keep(self, call: _Call, answer: Answer) -> None:
        lock = self._lock.wait()
        if not call.is_outdated:
            margin = min(answer.lifetime * RENEW_SHARE, RENEW_MARGIN)
            self._kept = answer.password, call.began + answer.lifetime - margin
        del lock

    # -- logging in -------------------------------------------------------------------

    def _try_once(
        self,
        open_session: Callable[..., Any],
        name: str,
        deadline: float | None,
        refused: Password | None,
    ) -> tuple[Any, Password | None]:
        """The session, or ``None`` and the password that the server has refused."""
        turn = self._begin_login()
        try:
            if self._clock() < self._retry_at:
                raise self._refusal_shown(name)
            password = self.password(name, deadline)
            if password != refused:
                session = self._try(open_session, password)
                if session is not None:
                    return session, None
            if refused is not None:
                self._hold_off()
                raise self._refusal_shown(name)
            return None, password
        finally:
            del turn  # or whoever keeps the exception would keep it

    def _begin_login(self) -> Token:
        """Wait until no login is under way, or one has succeeded since we came. This one lasts as
        long as what is returned.

        So of several that come together the first goes alone: if its password is refused, theirs
        need not be.
        """
        token, seen, began = Token(), self._last_success, time.monotonic()
        while True:
            waited = time.monotonic() - began
            # Not for long: a server that does not answer the first may answer others.
            is_late = waited >= FIRST_LOGIN
            lock = self._lock.take()
            may_begin = lock and (self._last_success is not seen or not self._are_under_way())
            if may_begin or is_late:
                self._logins.append(weakref.ref(token))
                return token
            del lock
            time.sleep(min(POLL + waited / 4, LONGEST_POLL))

    def _are_under_way(self) -> bool:
        for login in list(self._logins):
            if login() is None:
                with suppress(ValueError):
                    self._logins.remove(login)
        return bool(self._logins)

    def _try(self, open_session: Callable[..., Any], password: Password) -> Any:
        """The session, or ``None`` if the server refuses the password."""
        try:
            session = open_session(password=password)
        except Exception as error:
            if error.args[:1] != (ACCESS_DENIED,):
                raise
            self._drop(password, error)
            return None
        lock = self._lock.wait()
        self._last_success = Token()
        self._retry_at = 0.0
        self._backoff.reset()
        del lock
        return session

    def _drop(self, password: Password, refusal: Exception) -> None:
        lock = self._lock.wait()
        # Without its frames, whose variables live as long as it does.
        self._refusal = refusal.with_traceback(None)
        for call in list(self._calls):  # it may return the refused one
            call.is_outdated = True
        if self._kept is not None and self._kept[0] == password:
            self._kept = None
        del lock

    def _hold_off(self) -> None:
        lock = self._lock.wait()
        now = self._clock()
        if now >= self._retry_at:  # several refused at the same time count once
            self._retry_at = now + self._backoff.next_delay()
        del lock

    def _refusal_shown(self, name: str) -> Exception:
        """The last refusal, and what comes of it."""
        refusal = self._refusal
        number, text = refusal.args
        shown: Exception = type(refusal)(
            number,
            f"{text} (pool {name}: password of the provider {self._provider.name}; no further "
            f"login for {self._retry_at - self._clock():.1f} s)",
        )
        shown.__cause__ = refusal
        return shown


class _Call:
    """One call of a provider, waited for by all who need a password meanwhile.

    In a thread of its own, since nothing else bounds the time that foreign code takes.

    :param runner: lives as long as the call runs, or is about to.
    :param keep: given the answer, if there is one.
    """

    def __init__(
        self,
        provider: PasswordProvider,
        began: float,
        runner: Token,
        keep: Callable[[_Call, Answer], None],
    ) -> None:
        self.began = began
        self.is_outdated = False
        """Its answer is neither kept nor waited for by those who come now, if it can be helped."""
        self._provider = provider
        self._runner = weakref.ref(runner)
        self._keep = keep
        self._context = contextvars.copy_context()
        self._has_ended = False
        self._waiters: deque[_thread.LockType] = deque()
        self._answer: Answer | None = None
        self._fault = "was broken off by an exception"
        self._cause: BaseException | None = None

    @property
    def is_running(self) -> bool:
        return not self._has_ended and self._runner() is not None

    def run(self, runner: Token) -> None:
        """
        :param runner: see above; this refers to it.
        """
        try:
            self._answer = self._ask()
            if self._answer is not None:
                self._keep(self, self._answer)
        finally:
            self._has_ended = True
            while self._waiters:
                self._waiters.popleft().release()

    def _ask(self) -> Answer | None:
        try:
            returned = self._context.run(self._provider.call)
        except BaseException as error:  # noqa: BLE001  # result() raises it
            self._fault = f"raised {type(error).__name__}: {error}"
            self._cause = error
            return None
        try:
            return read_answer(returned)
        except ValueError as error:
            self._fault = str(error)
            return None

    def result(self, name: str, patience: float) -> Password:
        """Wait so many seconds for the password."""
        if not self._wait(patience):
            fault = f"has not answered within {patience:.1f} s; give what it asks a timeout"
        elif self._answer is not None:
            return self._answer.password
        else:
            fault = self._fault
        raise PasswordProviderError(
            f"pool {name}: the password provider {self._provider.name} {fault}"
        ) from self._cause

    def _wait(self, patience: float) -> bool:
        """Until it runs no more. Each who waits has a lock of his own, which nobody else misses."""
        until = time.monotonic() + patience
        gate = _thread.allocate_lock()
        gate.acquire()
        self._waiters.append(gate)
        while self.is_running:
            left = until - time.monotonic()
            if left <= 0:
                return False
            gate.acquire(timeout=min(left, LOOK))
        return True
