"""A daemon in the foreground of a terminal: bars at its bottom, and a log that stays whole."""

import itertools
import os
import re
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.support.poll import wait_until
from tests.support.screen import Screen

HEIGHT, WIDTH = 24, 250

# What a shell does: the terminal of standard input becomes the session's, and gets the log.
BECOME_FOREGROUND = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.dup2(0, 2)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """What daemons that are started now show on their terminal."""
    try:
        looker, terminal = os.openpty()
    except OSError as error:  # in a container without /dev/pts
        pytest.skip(f"no pseudo-terminal to be had: {error}")
    termios.tcsetwinsize(terminal, (HEIGHT, WIDTH))
    launcher = (sys.executable, "-c", BECOME_FOREGROUND)
    monkeypatch.setattr(Daemon, "prefix", launcher)
    monkeypatch.setattr(Daemon, "stdin", terminal)
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen(HEIGHT)

    def look() -> None:
        with suppress(OSError):  # the terminal's end
            while text := os.read(looker, 65536):
                screen.feed(text.decode())

    thread = threading.Thread(target=look)
    thread.start()
    yield screen
    os.close(terminal)
    thread.join()
    os.close(looker)


def test_bars_at_the_bottom_show_the_progress_of_all_workers_and_the_log_stays_whole(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, screen: Screen
) -> None:
    size = ("--processes", "2", "--threads", "2")
    daemon = start_daemon(sqlite, "log_and_report_progress", *size)
    names = [f"worker-{p}/thread-{t}" for p, t in itertools.product((1, 2), (1, 2))]
    bars = [re.compile(rf"{name} +\[#*\.*\] +\d+%  \d+ of 40") for name in names]

    def shown() -> bool:
        bottom = screen.bottom  # while they are drawn anew one may be missing
        return len(bottom) == len(bars) and all(map(re.Pattern.fullmatch, bars, bottom))

    wait_until(shown, TIMEOUT, "the bars")
    daemon.wait_for("logged", len(names))
    daemon.journal.open_gate()
    daemon.stop()
    wait_until(lambda: not screen.bottom, TIMEOUT, "the bars' end")
    expected = [f"line {number} of {name} ends here" for name in names for number in range(1, 41)]
    assert sorted(line for line in screen.log if "line" in line) == sorted(expected)
    assert not any("#]" in line or "..]" in line for line in screen.log)
