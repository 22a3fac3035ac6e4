"""Where a password comes from: the callable behind ``password_provider``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any, NamedTuple, Self

from pooldaemon.conf import import_path

CALLABLE = "it must be a callable without arguments, or the dotted path of one"
WANTED = "it must return a password, or (password, lifetime in seconds)"


class Password(str):
    """Does not show itself where variables are listed, as on a page about an error."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'********'"


class Answer(NamedTuple):
    """What a provider has returned.

    :ivar lifetime: seconds for which the password is good; 0: it is not to be kept.
    """

    password: Password
    lifetime: float


class PasswordProvider:
    """A callable that returns passwords, and its name for messages.

    Pools are keyed on it, so it is compared by what it is, never by what it returns or holds.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.name = _name(call)
        # A bound method is another object each time it is looked up.
        method = call if isinstance(call, MethodType) else None
        self._identity = (id(method.__self__), id(method.__func__)) if method else (id(call),)

    @classmethod
    def resolve(cls, wanted: Any) -> Self:
        """The provider for a dotted path or a callable, which is not called.

        :raises ValueError: it is neither; the text does not show a value that may be a password.
        """
        if isinstance(wanted, str):
            if "." not in wanted:
                raise ValueError(f"it is a string without a dot; {CALLABLE}")
            found = import_path(wanted)
        else:
            found = wanted
        if not callable(found):
            raise ValueError(f"it is {_kind(found)}; {CALLABLE}")
        if inspect.iscoroutinefunction(found):
            raise ValueError("it is an async function; it must be a plain one")
        return cls(found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PasswordProvider) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        return f"<PasswordProvider {self.name}>"


def read_answer(answer: Any) -> Answer:
    """Check what a provider returned.

    :raises ValueError: saying what it returned, without the password, and what it must return.
    """
    password, lifetime = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, 0.0)
    if not isinstance(password, str):
        raise ValueError(f"returned {_kind(answer)}; {WANTED}")
    if not password:
        raise ValueError(f"returned an empty password; {WANTED}")
    if isinstance(lifetime, bool) or not isinstance(lifetime, (int, float)):
        raise ValueError(f"returned a lifetime that is {_kind(lifetime)}; {WANTED}")
    if math.isnan(lifetime) or lifetime < 0:
        raise ValueError(f"returned a lifetime of {lifetime}; it must be 0 seconds or more")
    return Answer(Password(password), lifetime)


def _name(call: Any) -> str:
    """Never its ``repr()``, which may show a secret bound to it."""
    while isinstance(call, partial):
        call = call.func
    named = call if hasattr(call, "__qualname__") else type(call)
    return f"{named.__module__}.{named.__qualname__}"


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, tuple):
        return f"a tuple of {', '.join(map(_kind, value)) or 'nothing'}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
