"""Reads keys from the terminal."""

from __future__ import annotations

import os
import re
import select
import termios
import tty
from contextlib import suppress

NAMES = {
    "A": "up",
    "B": "down",
    "5~": "page up",
    "6~": "page down",
    "H": "home",
    "1~": "home",
    "F": "end",
    "4~": "end",
}
"""The names of keys, by what the terminal sends after ``ESC [`` or ``ESC O``."""

_KEY = re.compile(r"\x1b[\[O]([\d;]*[A-Za-z~])|([^\x1b])", re.DOTALL)


class Keyboard:
    """Reads each key when it is pressed, without echo, and not only complete lines.

    A context manager that restores the terminal's mode at its end.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __enter__(self) -> Keyboard:
        self._before = termios.tcgetattr(self.descriptor)
        tty.setcbreak(self.descriptor)
        # Without Ctrl-Z, which would leave the shell with a terminal without echo.
        mode = termios.tcgetattr(self.descriptor)
        mode[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self.descriptor, termios.TCSANOW, mode)
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(termios.error):  # the terminal has been closed
            termios.tcsetattr(self.descriptor, termios.TCSANOW, self._before)

    def read(self) -> list[str]:
        """The keys that have been pressed since the last call. Does not block.

        :raises EOFError: the terminal has been closed.
        """
        # Not in non-blocking mode, which would apply to the output on the same terminal as well.
        if not select.select([self.descriptor], [], [], 0)[0]:
            return []
        try:
            data = os.read(self.descriptor, 1024)
        except OSError:  # the terminal has been closed
            data = b""
        if not data:
            raise EOFError
        return parse(data.decode(errors="replace"))


def parse(text: str) -> list[str]:
    """The keys in what a terminal has sent: characters, and :data:`NAMES`. Others are ignored."""
    keys = (NAMES.get(found[1]) if found[1] else found[2] for found in _KEY.finditer(text))
    return [key for key in keys if key]
