"""Validates JSON from other processes before it is used.

The sender may run another version of this package or other code, or the data may be damaged. A
wrong value that is kept would fail later, in code that does not know where it came from.

A *shape* describes a valid value: ``None``, a type, a :class:`~pooldaemon.conf.Number`, a function
that returns whether it accepts the value, ``[shape]`` for a list of any length, a tuple of shapes
for a list of this length, a dict of shapes for an object with at least these names, or one of the
classes here.
"""

from __future__ import annotations

import re
import reprlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Union

from pooldaemon.conf import MAX_CONNECTIONS, Number

Shape = Union[
    None,
    type,
    Number,
    Callable[[Any], bool],
    list[Any],
    tuple[Any, ...],
    Mapping[str, Any],
    "Either",
    "Each",
    "IfGiven",
]


@dataclass(frozen=True)
class Either:
    """One of two shapes."""

    one: Shape
    other: Shape


@dataclass(frozen=True)
class Each:
    """An object with any names, whose values have a shape."""

    shape: Shape


@dataclass(frozen=True)
class IfGiven:
    """In an object: the name may be missing, as in the data of other versions."""

    shape: Shape


COUNT = Number(0, 2**63 - 1, whole=True)
WHOLE = Number(-(2**63), 2**63 - 1, whole=True)
FINITE = Number(-sys.float_info.max, sys.float_info.max)
TIME = Number(-1e12, 1e12)
"""Seconds, of any clock."""
PID = Number(1, 2**31 - 1, whole=True)
DESCRIPTOR = Number(0, 2**31 - 1, whole=True)
CAP = Number(1, MAX_CONNECTIONS, whole=True)

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 200

SESSION = (str, COUNT, Number(0, 65535, whole=True))
""":class:`pooldaemon.sessions.Session`."""


def is_worker(value: Any) -> bool:
    """Whether it is the name of a worker."""
    return isinstance(value, str) and re.fullmatch(r"worker-[1-9][0-9]{0,8}", value) is not None


def is_flat(value: Any) -> bool:
    """Whether it is a JSON object without objects and lists in it."""
    return isinstance(value, dict) and not any(
        isinstance(one, (dict, list)) for one in value.values()
    )


def misfit(shape: Shape, value: Any, where: str) -> str | None:
    """Which part of *value* does not have the shape, as text; ``None`` if all of it does.

    :param where: the name of the value in the text.
    """
    match shape:
        case Either():
            return misfit(shape.one, value, where) and misfit(shape.other, value, where)
        case Number():
            fits = shape.accepts(value)
        case None:
            fits = value is None
        case type():
            fits = type(value) is shape
        case list() | tuple():
            return _misfit_in_list(shape, value, where)
        case Each() | Mapping():
            return _misfit_in_object(shape, value, where)
        case IfGiven():
            return misfit(shape.shape, value, where)
        case _:
            fits = shape(value)
    return None if fits else f"{where} is {shown(value)}"


def _misfit_in_list(shape: list[Any] | tuple[Any, ...], value: Any, where: str) -> str | None:
    if not isinstance(value, list) or (isinstance(shape, tuple) and len(value) != len(shape)):
        return f"{where} is {shown(value)}"
    shapes = shape if isinstance(shape, tuple) else shape * len(value)
    each = enumerate(zip(shapes, value, strict=True))
    return next(filter(None, (misfit(s, v, f"{where}[{n}]") for n, (s, v) in each)), None)


def _misfit_in_object(shape: Each | Mapping[str, Any], value: Any, where: str) -> str | None:
    if not isinstance(value, dict):
        return f"{where} is {shown(value)}"
    shapes = dict.fromkeys(value, shape.shape) if isinstance(shape, Each) else shape
    for name, inner in shapes.items():
        if name in value:
            if wrong := misfit(inner, value[name], f"{where}.{name}"):
                return wrong
        elif not isinstance(inner, IfGiven):
            return f"{where} has no {name}"
    return None


def shown(value: Any) -> str:
    """A short text for any *value*, however large."""
    try:
        return _brief.repr(value)
    except ValueError:  # a number of thousands of digits
        return f"a {type(value).__name__}"
