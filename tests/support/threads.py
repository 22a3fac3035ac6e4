"""Where another thread is: seen to have arrived, it need not be given time to."""

import sys
import threading
from types import FrameType

from tests.support.poll import wait_until

DEADLINE = 30.0


def wait_until_inside(thread: threading.Thread, function: str) -> None:
    """Wait until this function has begun, and not ended, in the thread."""
    wait_until(lambda: function in names(thread), DEADLINE, f"not inside {function}()")


def names(thread: threading.Thread) -> list[str]:
    """Of the functions that the thread is in, such as ``Sender.drain``, the innermost first."""
    found: list[str] = []
    frame: FrameType | None = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        found.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return found
