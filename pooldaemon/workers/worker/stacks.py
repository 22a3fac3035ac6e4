"""Runs in the child: the stacks of its threads."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Mapping

_INNERMOST = 40
"""Calls shown for each thread: the outer calls of a deep recursion add nothing."""


def dump_stacks(running: Mapping[str, float], only: str | None = None) -> str:
    """The stack of every thread of this process, and for how long its unit has been running.

    Thread-safe. Does not wait for the threads that it shows.

    :param running: the start of each running unit on the monotonic clock, by the thread's name.
    :param only: the name of a thread, to show no other. Default: all.
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
