"""Runs in the parent, in the foreground: progress bars at the bottom of the terminal.

The lines at the bottom are excluded from scrolling (DECSTBM), as apt does it. So workers can write
to the terminal without knowing of the bars.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from pooldaemon.management.table import align, progress
from pooldaemon.workers.supervisor.handle import Progress

INTERVAL = 0.1
"""Seconds between two drawings, at least."""

SHARE = 3
"""Bars take at most one third of the terminal's lines."""

SAVE, RESTORE = "\0337", "\0338"


class Bars:
    """Draws the progress of units, once one has reported progress.

    Writes only to a terminal in whose foreground this process runs. A context manager: at its end
    the whole terminal scrolls again. Main thread only.

    :param descriptor: of the terminal.
    :param clock: monotonic clock, in seconds.
    """

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._drawn_at = float("-inf")
        self._height = 0
        self._reserved = 0

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def draw(self, units: Mapping[str, Progress]) -> None:
        """Show the progress of all units that have reported it, at most every :data:`INTERVAL`.

        :param units: their progress, by thread.
        """
        now = self._clock()
        if not (units or self._reserved) or now - self._drawn_at < INTERVAL:
            return
        self._drawn_at = now
        with suppress(OSError):  # not a terminal, or it has been closed
            if self._may_write():
                self._draw(units)

    def close(self) -> None:
        """Let the whole terminal scroll again."""
        if self._reserved:
            with suppress(OSError):
                self._write(self._release())

    def _may_write(self) -> bool:
        """Whether this process runs in the terminal's foreground, and Ctrl-S has not stopped it."""
        return (
            os.environ.get("TERM", "dumb") != "dumb"
            and os.tcgetpgrp(self._descriptor) == os.getpgrp()
            and bool(select.select([], [self._descriptor], [], 0)[1])
        )

    def _draw(self, units: Mapping[str, Progress]) -> None:
        width, height = os.get_terminal_size(self._descriptor)
        if (most := height // SHARE) == 0:
            return
        lines = align([[thread, progress(*units[thread], bar=True)] for thread in sorted(units)])
        if len(lines) > most:
            lines[most - 1 :] = [f"and {len(lines) - most + 1} more"]
        # Never fewer lines than before, or the log would jump with every unit that ends.
        count = min(most, max(len(lines), self._reserved))
        text = ""
        if (count, height) != (self._reserved, self._height):
            text = self._release() + self._reserve(count, height)
        lines += [""] * (count - len(lines))
        for row, line in enumerate(lines, start=height - count + 1):
            text += _line(row, line[:width])
        self._write(SAVE + text + RESTORE)

    def _reserve(self, lines: int, height: int) -> str:
        self._reserved, self._height = lines, height
        # The cursor moves down, which scrolls the log, and up again in its column.
        room = "\033D" * lines + f"\033[{lines}A"
        return f"{room}{SAVE}\033[1;{height - lines}r"

    def _release(self) -> str:
        first = self._height - self._reserved + 1
        text = "".join(_line(row, "") for row in range(first, self._height + 1))
        self._reserved = 0
        return f"{SAVE}\033[r{text}{RESTORE}"

    def _write(self, text: str) -> None:
        # In one call, so that the output of other processes can't come in between.
        os.write(self._descriptor, text.encode())


def _line(row: int, text: str) -> str:
    return f"\033[{row};1H\033[2K{text}"
