"""A lock that can't be left locked, and exceptions that keep nothing alive.

An exception may be raised between any two instructions: Ctrl-C, a handler of a signal, a limit of
time. No ``finally`` covers the moment between taking something and noting that it was taken. What
Python does cover is references: a frame that an exception leaves drops what it holds, in that
moment. So here, and for places, permits and sessions, to hold something is to refer to an object,
and its death is what gives it back. Deaths are told by weak references, whose callbacks are
functions written in C: no exception can be raised in these, they wait for nothing, and the garbage
collector may call them at any line of any thread.
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
"""Seconds between tries. It is held for microseconds."""

PATIENCE = 1.0
"""Seconds after which it is not waited for any more: whoever holds it may be further down in this
very thread, interrupted by a finalizer of the user's."""


class Token:
    """To refer to it is to hold what it stands for."""

    __slots__ = ("__weakref__",)


class _Hold(weakref.ref[Token]):
    """Of one who holds or held the lock. ``__dict__`` knows who came next: see ``take()``."""


class TokenLock:
    """Held by one at a time, for as long as the :class:`Token` lives that :meth:`take` returns.

    Thread-safe, also where the garbage collector interrupts one of its methods.
    """

    def __init__(self) -> None:
        self._last = _Hold(Token())  # which is dead already

    def take(self) -> Token | None:
        """Begin to hold it; ``None``: somebody does."""
        last = self._last
        while (next_one := vars(last).get("next")) is not None:
            last = next_one
        if last() is not None:
            return None
        token = Token()
        hold = _Hold(token)
        # Who comes after the last one is decided once. An exception at any line from here on drops
        # the token, and so the lock.
        if vars(last).setdefault("next", hold) is not hold:
            return None
        self._last = hold
        return token

    def wait(self) -> Token | None:
        """Hold it as soon as possible; ``None``: not to be had, and not worth waiting for."""
        for attempt in count():
            if (token := self.take()) is not None or attempt * POLL >= PATIENCE:
                return token
            time.sleep(POLL)
        raise AssertionError


def clear_frames(error: BaseException) -> None:
    """Clear the variables of the frames of a pool that *error* has left.

    An exception refers to them, and may be kept for long: by a future, by who reports errors.
    """
    told: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in told:
        told.append(cause)
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
    """Decorates what others call: :func:`clear_frames` of what it raises."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            clear_frames(error)
            raise

    return wrapper
