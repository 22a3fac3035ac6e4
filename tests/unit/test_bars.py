"""Bars at the bottom of a terminal, and a log above them that they never touch."""

import io
import os
import termios
import time
from collections.abc import Iterator

import pytest
from django.core.management.base import OutputWrapper

from pooldaemon.management import actions
from pooldaemon.management.actions import Operator
from pooldaemon.management.bars import INTERVAL, Bars
from pooldaemon.management.table import daemon_table
from tests.support.screen import Screen

HEIGHT, WIDTH = 12, 60
TCGETPGRP = os.tcgetpgrp


class Terminal:
    """A pseudo-terminal and the one who looks at it."""

    def __init__(self) -> None:
        self.looker, self.descriptor = os.openpty()
        termios.tcsetwinsize(self.descriptor, (HEIGHT, WIDTH))
        self.screen = Screen(HEIGHT)
        self.now = 100.0

    def log(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def look(self) -> Screen:
        self.log("\0")  # so that there is something to read
        text = b""
        while not text.endswith(b"\0"):
            text += os.read(self.looker, 65536)
        self.screen.feed(text[:-1].decode())
        return self.screen

    def clock(self) -> float:
        self.now += 2 * INTERVAL
        return self.now

    def close(self) -> None:
        os.close(self.looker)
        os.close(self.descriptor)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    try:
        terminal = Terminal()
    except OSError as error:  # in a container without /dev/pts
        pytest.skip(f"no pseudo-terminal to be had: {error}")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "tcgetpgrp", lambda descriptor: os.getpgrp())
    yield terminal
    terminal.close()


@pytest.fixture
def bars(terminal: Terminal) -> Bars:
    return Bars(terminal.descriptor, terminal.clock)


def test_without_progress_nothing_is_written(terminal: Terminal, bars: Bars) -> None:
    bars.draw({})
    bars.close()
    terminal.log("a line\n")
    screen = terminal.look()
    assert (screen.log, screen.bottom) == (["a line"], [])


def test_units_are_shown_at_the_bottom_in_order(terminal: Terminal, bars: Bars) -> None:
    bars.draw({"worker-2/thread-1": (7, None), "worker-1/thread-10": (30, 120)})
    assert terminal.look().bottom == [
        "worker-1/thread-10  [#####...............]  25%  30 of 120",
        "worker-2/thread-1   7",
    ]


@pytest.mark.parametrize("before", [0, 3, HEIGHT + 5])
def test_the_log_scrolls_above_and_stays_whole(terminal: Terminal, bars: Bars, before: int) -> None:
    written = [f"line {number}" for number in range(60)]
    for number, line in enumerate(written):
        terminal.log(f"{line}\n")
        if number >= before:
            count = 1 if number < 30 else 3
            bars.draw({f"worker-1/thread-{n}": (number, 60) for n in range(1, count + 1)})
    screen = terminal.look()
    assert screen.log == written
    assert [line.partition(" ")[0] for line in screen.bottom] == [
        f"worker-1/thread-{n}" for n in (1, 2, 3)
    ]
    assert screen.bottom[0].endswith("59 of 60")


def test_a_line_that_is_being_written_is_not_torn(terminal: Terminal, bars: Bars) -> None:
    terminal.log("one half, ")
    bars.draw({"worker-1/thread-1": (1, 2)})
    terminal.log("the other\n")
    assert terminal.look().log == ["one half, the other"]


def test_at_the_end_the_whole_terminal_scrolls_again_and_no_bar_is_left(
    terminal: Terminal, bars: Bars
) -> None:
    terminal.log("before\n")
    with bars:
        bars.draw({"worker-1/thread-1": (1, 2)})
        terminal.log("meanwhile\n")
    terminal.log("afterwards\n")
    screen = terminal.look()
    assert (screen.log, screen.bottom) == (["before", "meanwhile", "afterwards"], [])


def test_a_unit_that_ends_leaves_an_empty_line_and_the_log_does_not_move(
    terminal: Terminal, bars: Bars
) -> None:
    bars.draw({"a": (1, 2), "b": (1, 2)})
    bars.draw({"b": (2, 2)})
    assert terminal.look().bottom == ["b  [####################] 100%  2 of 2", ""]
    bars.draw({})
    assert terminal.look().bottom == ["", ""]


def test_most_of_the_terminal_is_for_the_log(terminal: Terminal, bars: Bars) -> None:
    bars.draw({f"worker-1/thread-{n}": (n, 9) for n in range(1, 10)})
    bottom = terminal.look().bottom
    assert len(bottom) == HEIGHT // 3
    assert bottom[-1] == "and 6 more"


def test_a_terminal_of_another_size_gets_its_bars_at_its_bottom(
    terminal: Terminal, bars: Bars
) -> None:
    bars.draw({"a": (1, 2)})
    terminal.look()
    termios.tcsetwinsize(terminal.descriptor, (HEIGHT + 4, 10))
    terminal.screen.rows += [""] * 4
    terminal.screen.height += 4
    for units, bottom in (({"a": (2, 2)}, ["a  [######"]), ({}, [""])):
        bars.draw(units)
        terminal.log("a line\n")
        assert terminal.look().bottom == bottom
    assert terminal.screen.log == ["a line"] * 2


def test_a_terminal_without_a_size_gets_no_bars(terminal: Terminal, bars: Bars) -> None:
    termios.tcsetwinsize(terminal.descriptor, (0, 0))
    bars.draw({"a": (1, 2)})
    assert terminal.look().bottom == []


def test_it_is_not_drawn_more_often_than_anybody_sees(terminal: Terminal) -> None:
    bars = Bars(terminal.descriptor, lambda: 100.0)
    bars.draw({"a": (1, 2)})
    bars.draw({"a": (2, 2)})
    assert terminal.look().bottom == ["a  [##########..........]  50%  1 of 2"]


@pytest.mark.parametrize("reason", ["dumb", "background", "stopped", "gone", "another's"])
def test_nothing_is_written_where_it_would_disturb(
    terminal: Terminal, bars: Bars, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    elif reason == "background":
        monkeypatch.setattr(os, "tcgetpgrp", lambda descriptor: os.getpgrp() + 1)
    elif reason == "stopped":
        termios.tcflow(terminal.descriptor, termios.TCOOFF)
    elif reason == "gone":
        gone = os.dup(terminal.descriptor)
        os.close(gone)
        bars = Bars(gone, terminal.clock)
    else:
        monkeypatch.setattr(os, "tcgetpgrp", TCGETPGRP)
    began = time.monotonic()
    bars.draw({"a": (1, 2)})
    bars.close()
    assert time.monotonic() - began < 30  # it does not wait for the terminal
    if reason == "stopped":
        termios.tcflow(terminal.descriptor, termios.TCOON)
    assert terminal.look().bottom == []


@pytest.mark.parametrize("is_terminal", [True, False])
def test_status_draws_bars_on_a_terminal_and_prints_numbers_elsewhere(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    worker = {"name": "worker-1", "pid": 7, "state": "ready", "age": 1, "longest": None}
    worker |= dict.fromkeys(("units", "failures", "busy", "connections", "rss", "crashes"), 0)
    worker["progress"] = [{"thread": "worker-1/thread-1", "done": 3, "total": 4}]
    status = {
        "state": "running",
        "pid": 6,
        "uptime": 1,
        "processes": 1,
        "last_death": None,
        "reload": {"state": "none"},
    }
    status |= {"workers": [worker], "options": {}, "metrics": None}
    monkeypatch.setattr(actions, "lock_holder", lambda path: 6)
    monkeypatch.setattr(actions, "ask", lambda path, command: status)
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: is_terminal)
    assert Operator("work", "pid", 1.0, OutputWrapper(out)).status(as_json=False) == 0
    assert " 75%  3 of 4" in out.getvalue()
    assert ("[###############.....]" in out.getvalue()) == is_terminal


def test_status_says_what_the_daemon_cannot_do_just_now() -> None:
    error = "BlockingIOError: [Errno 11] Resource temporarily unavailable"
    trouble = {"what": "start workers", "error": error, "for": 75.0, "times": 3}
    status = {"state": "running", "pid": 6, "uptime": 1, "processes": 2, "last_death": None}
    status |= {"reload": {"state": "none"}, "workers": [], "options": {}, "troubles": [trouble]}
    lines = daemon_table(status, bars=False).splitlines()
    assert f"can't start workers: {error} (3 failures in 1 min)" in lines
