"""Where in the user's code a connection was borrowed, at almost no cost."""

from __future__ import annotations

import sys
from types import CodeType, FrameType

# Frames of these packages lie between the pool and the line that the reader wrote.
INTERNAL = frozenset({"asgiref", "contextlib", "django", "functools", "pooldaemon", "threading"})

STATEMENT = "execute_sql"
"""The function of Django's ORM that opens a cursor, runs a statement and closes it."""

CallSite = tuple[CodeType, int]
"""A code object and the index of an instruction: no reference to the frame and its variables."""

_internal_files: dict[str, bool] = {}


def caller(skip: int) -> CallSite:
    """The innermost frame outside the packages that lead here, or else the outermost.

    :param skip: so many frames above this one are known not to be it. To look at a frame costs
        the interpreter an object.
    """
    return _outside(sys._getframe(skip + 1))


def caller_unless_statement(skip: int, depth: int) -> CallSite | None:
    """The same, but ``None`` for a statement of the ORM's: :func:`of_statement` finds its
    call_site.

    A dozen frames lie between the ORM's user and the pool, and few of these call sites are ever
    read.

    :param depth: so many frames above this one the ORM asks for a cursor.
    """
    try:
        if sys._getframe(depth + 1).f_code.co_name == STATEMENT:
            return None
    except ValueError:  # there are not so many
        pass
    return caller(skip + 1)


def of_statement(thread: int) -> CallSite | None:
    """Where a *thread*, by its identifier, had the ORM run the statement that it is in now."""
    frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_code.co_name != STATEMENT:
        frame = frame.f_back
    return frame and _outside(frame)


def _outside(frame: FrameType) -> CallSite:
    while frame.f_back is not None:
        internal = _internal_files.get(frame.f_code.co_filename)
        if internal is None:
            internal = _learn(frame)
        if not internal:
            break
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def _learn(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    internal = _internal_files[frame.f_code.co_filename] = package in INTERNAL
    return internal


def describe(call_site: CallSite | None) -> str:
    """``"shop/views.py:31 in checkout"``; the line is looked up only here."""
    if call_site is None:
        return "an unknown place"
    code, instruction = call_site
    line = next(
        (number for start, end, number in code.co_lines() if start <= instruction < end and number),
        code.co_firstlineno,
    )
    return f"{code.co_filename}:{line} in {code.co_name}"
