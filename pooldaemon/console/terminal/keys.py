"""The terminal as a keyboard."""

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
"""What a terminal sends after ``ESC [`` or ``ESC O``."""

_KEY = re.compile(r"\x1b[\[O]([\d;]*[A-Za-z~])|([^\x1b])", re.DOTALL)


class Keyboard:
    """Keys as they are pressed, neither shown nor held back until a line is complete.

    A context manager, after which the terminal is as it was.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __enter__(self) -> Keyboard:
        self._before = termios.tcgetattr(self.descriptor)
        tty.setcbreak(self.descriptor)
        # Ctrl-Z would leave the shell with a terminal that shows no keys.
        mode = termios.tcgetattr(self.descriptor)
        mode[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self.descriptor, termios.TCSANOW, mode)
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(termios.error):  # it is gone
            termios.tcsetattr(self.descriptor, termios.TCSANOW, self._before)

    def read(self) -> list[str]:
        """The keys that have come.

        :raises EOFError: there will be none any more.
        """
        # Not by a read that does not block: that would hold for the screen as well.
        if not select.select([self.descriptor], [], [], 0)[0]:
            return []
        try:
            data = os.read(self.descriptor, 1024)
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            raise EOFError
        return parse(data.decode(errors="replace"))


def parse(text: str) -> list[str]:
    """The keys in what a terminal has sent: characters, and :data:`NAMES`. Others are left out."""
    keys = (NAMES.get(found[1]) if found[1] else found[2] for found in _KEY.finditer(text))
    return [key for key in keys if key]
