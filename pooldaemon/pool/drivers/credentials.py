"""The password of a pool: asked for at each connect, kept while it lasts, dropped when refused."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pooldaemon.backoff import Backoff
from pooldaemon.exceptions import PasswordProviderError
from pooldaemon.pool.drivers.provider import Answer, Password, PasswordProvider, read_answer

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

FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
"""Seconds without a login after one was refused; they double with each further refusal."""


class Credentials:
    """Logs in with what a password provider returns.

    Thread-safe. Nothing is called under its lock. It belongs to its pool, so a forked child begins
    with one of its own.

    :param clock: of seconds, monotonic.
    """

    def __init__(
        self, provider: PasswordProvider, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._changed = threading.Condition()
        self._logins = 0
        """Under way."""
        self._successes = 0
        self._calls: list[_Call] = []
        """Of the provider, that have not ended; the newest is the last."""
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
            with self._turn():
                if self._clock() < self._retry_at:
                    raise self._told(name)
                password = self.password(name, deadline)
                if password != refused:
                    session = self._try(open_session, password)
                    if session is not None:
                        return session
                if refused is not None:
                    self._hold_off()
                    raise self._told(name)
                refused = password

    def password(self, name: str, deadline: float | None = None) -> Password:
        """The kept password, or a new one; arguments and errors as for :meth:`log_in`."""
        with self._changed:
            if self._kept is not None and self._clock() < self._kept[1]:
                return self._kept[0]
            call, is_new = self._join_call()
        if is_new:
            call.start()
        patience = PATIENCE
        if deadline is not None:
            patience = max(deadline - self._clock(), LEAST_PATIENCE)
        return call.result(name, patience)

    # -- asking -----------------------------------------------------------------------

    def _join_call(self) -> tuple[_Call, bool]:
        """The call to wait for, and whether it is for us to start it."""
        now = self._clock()
        newest = self._calls[-1] if self._calls else None
        if newest is not None:
            newest.is_outdated = newest.is_outdated or now - newest.began >= HUNG_AFTER
            if not newest.is_outdated or len(self._calls) >= MOST_CALLS:
                return newest, False
        call = _Call(self._provider, now, self._end_call)
        self._calls.append(call)
        return call, True

    def _end_call(self, call: _Call, answer: Answer | None) -> None:
        with self._changed:
            self._calls.remove(call)
            if answer is not None and not call.is_outdated:
                margin = min(answer.lifetime * RENEW_SHARE, RENEW_MARGIN)
                self._kept = answer.password, call.began + answer.lifetime - margin

    # -- logging in -------------------------------------------------------------------

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no login is under way, or one has succeeded since we came.

        So of several that come together the first goes alone: if its password is refused, theirs
        need not be.
        """
        with self._changed:
            seen = self._successes
            # Not for long: a server that does not answer the first may answer others.
            self._changed.wait_for(lambda: self._successes > seen or not self._logins, FIRST_LOGIN)
            self._logins += 1
        try:
            yield
        finally:
            with self._changed:
                self._logins -= 1
                self._changed.notify_all()

    def _try(self, open_session: Callable[..., Any], password: Password) -> Any:
        """The session, or ``None`` if the server refuses the password."""
        try:
            session = open_session(password=password)
        except Exception as error:
            if error.args[:1] != (ACCESS_DENIED,):
                raise
            self._drop(password, error)
            return None
        with self._changed:
            self._successes += 1
            self._retry_at = 0.0
            self._backoff.reset()
        return session

    def _drop(self, password: Password, refusal: Exception) -> None:
        with self._changed:
            # Without its frames, whose variables live as long as it does.
            self._refusal = refusal.with_traceback(None)
            for call in self._calls:  # it may return the refused one
                call.is_outdated = True
            if self._kept is not None and self._kept[0] == password:
                self._kept = None

    def _hold_off(self) -> None:
        with self._changed:
            now = self._clock()
            if now >= self._retry_at:  # several refused at the same time count once
                self._retry_at = now + self._backoff.next_delay()

    def _told(self, name: str) -> Exception:
        """The last refusal, and what comes of it."""
        refusal = self._refusal
        number, text = refusal.args
        told: Exception = type(refusal)(
            number,
            f"{text} (pool {name}: password of the provider {self._provider.name}; no further "
            f"login for {self._retry_at - self._clock():.1f} s)",
        )
        told.__cause__ = refusal
        return told


class _Call:
    """One call of a provider, waited for by all who need a password meanwhile.

    In a thread of its own, since nothing else bounds the time that foreign code takes.
    """

    def __init__(
        self, provider: PasswordProvider, began: float, end: Callable[[_Call, Answer | None], None]
    ) -> None:
        self.began = began
        self.is_outdated = False
        """Its answer is neither kept nor waited for by those who come now, if it can be helped."""
        self._provider = provider
        self._end = end
        self._context = contextvars.copy_context()
        self._has_ended = threading.Event()
        self._answer: Answer | None = None
        self._fault = ""
        self._cause: BaseException | None = None

    def start(self) -> None:
        thread = threading.Thread(target=self._run, name=self._provider.name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are too many, or the interpreter is shutting down
            self._run()

    def _run(self) -> None:
        try:
            self._answer = self._ask()
        finally:
            self._end(self, self._answer)
            self._has_ended.set()

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
        if not self._has_ended.wait(patience):
            fault = f"has not answered within {patience:.1f} s; give what it asks a timeout"
        elif self._answer is not None:
            return self._answer.password
        else:
            fault = self._fault
        raise PasswordProviderError(
            f"pool {name}: the password provider {self._provider.name} {fault}"
        ) from self._cause
