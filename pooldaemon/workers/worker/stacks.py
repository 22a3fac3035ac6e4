"""Runs in the child: where each of its threads is just now."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Mapping

_INNERMOST = 40
"""Calls shown per thread; the outer ones of a deep recursion tell nothing new."""


def dump_stacks(running: Mapping[str, float], only: str | None = None) -> str:
    """The stack of every thread of this process, each with the unit that it is inside of.

    Thread-safe; takes no lock of the threads that it looks at.

    :param running: since when a thread's unit runs (monotonic clock), by the thread's name.
    :param only: the name of the one thread to show. Default: all.
    """
    now = time.monotonic()
    frames = sys._current_frames()
    parts = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if frame is None or only not in (None, thread.name):
            continue
        began = running.get(thread.name)
        unit = "no unit" if began is None else f"in a unit for {now - began:.1f} s"
        stack = "".join(traceback.format_stack(frame, _INNERMOST))
        parts.append(f"{thread.name}, {unit}:\n{stack}")
    return "\n".join(parts).rstrip()
