"""A lock that an exception can't leave locked, and exceptions that keep nothing alive.

An exception may be raised between any two instructions: by Ctrl-C, a signal handler, a time limit.
No ``finally`` covers the moment between taking something and noting that it was taken. References
do: a frame that an exception leaves drops its references in that moment. So a thread holds a lock,
a permit, a pool entry or a session by referring to an object, and the object's death releases it.
Weak references report the death. Their callbacks are functions written in C: they can't raise and
wait for nothing, so the garbage collector may call them at any line of any thread.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from itertools import count
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

POLL = 0.0005
"""Seconds between tries. A lock is usually held for microseconds."""

PATIENCE = 1.0
"""Seconds after which :meth:`TokenLock.wait` gives up: the holder may be further up in the stack of
this very thread, interrupted by a finalizer."""


class Token:
    """Whoever refers to it holds what it stands for."""

    __slots__ = ("__weakref__",)


class _Hold(weakref.ref[Token]):
    """Of the token of a present or former holder. Its ``__dict__`` has the next one: see
    ``take()``."""


class TokenLock:
    """Held by one thread at a time, as long as the :class:`Token` lives that :meth:`take` returns.

    Thread-safe, also where the garbage collector interrupts one of its methods.
    """

    def __init__(self) -> None:
        self._last = _Hold(Token())  # which is dead already

    def take(self) -> Token | None:
        """Take the lock; returns ``None`` if somebody holds it."""
        last = self._last
        while (next_one := vars(last).get("next")) is not None:
            last = next_one
        if last() is not None:
            return None
        token = Token()
        hold = _Hold(token)
        # setdefault() decides once who comes after the last holder. An exception at any line from
        # here on drops the token, and so releases the lock.
        if vars(last).setdefault("next", hold) is not hold:
            return None
        self._last = hold
        return token

    def wait(self) -> Token | None:
        """Take the lock as soon as it is free; returns ``None`` after ``PATIENCE`` seconds."""
        for attempt in count():
            if (token := self.take()) is not None or attempt * POLL >= PATIENCE:
                return token
            time.sleep(POLL)
        raise AssertionError


def clear_frames(error: BaseException) -> None:
    """Clear the local variables of the pool's frames that *error* has passed.

    An exception refers to these frames, and may be kept for long: by a future, by an error report.
    """
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        traceback = cause.__traceback__
        while traceback is not None:
            frame = traceback.tb_frame
            if str(frame.f_globals.get("__name__")).startswith(_POOLS):
                with suppress(RuntimeError):  # it is still running
                    frame.clear()
            traceback = traceback.tb_next
        cause = cause.__context__


_POOLS = ("pooldaemon.pool.", "pooldaemon.backends.", "sqlalchemy.pool.", "contextlib")


def clears_frames(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator for entry points: calls :func:`clear_frames` with what the function raises."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            clear_frames(error)
            raise

    return wrapper
