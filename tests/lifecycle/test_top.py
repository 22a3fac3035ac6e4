"""manage.py pooldaemon top in a real terminal, over real daemons."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pooldaemon.testing import processes
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import ROOT, Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.support.poll import wait_until
from tests.support.terminal import TIMEOUT, Terminal, needs_tmux

pytestmark = [needs_tmux, pytest.mark.once]

StartTop = Callable[..., Terminal]
START = Callable[..., Daemon]

COMMAND = (sys.executable, "-m", "django", "pooldaemon", "top")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The directory of the pidfiles."""
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


@pytest.fixture
def start(start_daemon: StartDaemon, sqlite: SQLiteDatabase, run: Path) -> START:
    """`start("orders", "hold")`: a daemon of that name in the directory."""

    def start_named(name: str, unit: str, *options: str) -> Daemon:
        pidfile = str(run / f"{name}.pid")
        daemon = start_daemon(sqlite, unit, "--pidfile", pidfile, *options)
        daemon.wait_for("started")
        return daemon

    return start_named


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
        "DJANGO_SETTINGS_MODULE": "tests.lifecycle.project.settings",
        "LIFECYCLE_SETTINGS": "{}",
        "LIFECYCLE_DIRECTORY": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C.UTF-8",
    }


@pytest.fixture
def top(tmp_path: Path, run: Path, environment: dict[str, str]) -> Iterator[StartTop]:
    """`top(size=(80, 24), NO_COLOR="1")`."""
    with ExitStack() as terminals:

        def start_top(*prefix: str, size: tuple[int, int] = (100, 40), **more: str) -> Terminal:
            directory = tmp_path / f"terminal-{len(list(tmp_path.glob('terminal-*')))}"
            directory.mkdir()
            command = [*prefix, *COMMAND, "--directory", "run"]
            terminal = Terminal(directory, command, environment | more, size, tmp_path)
            return terminals.enter_context(terminal)

        yield start_top


def save(screen: str) -> None:
    """With SCREENS=docs/captures the documentation gets a new picture."""
    if directory := os.environ.get("SCREENS"):
        # Not where this copy of the project lies; as wide as before.
        short = re.sub(r"…\S*/(tests/\S+ in \w+)", lambda m: f"…/{m[1]}".ljust(len(m[0])), screen)
        Path(directory, "top.txt").write_text(short.rstrip() + "\n")


def test_without_a_daemon_it_waits_for_one_and_leaves_the_terminal_as_it_was(
    top: StartTop, start: START
) -> None:
    screen = top()
    screen.wait_for("No daemon is running in")
    daemon = start("orders", "wait")
    screen.wait_for("▸  orders  running", "1/1", "worker-1/thread-1")
    screen.press("q")
    assert screen.ends_with() == 0
    assert "orders" not in screen.screen()
    daemon.stop()


def test_keys_operate_the_daemon_that_is_chosen(top: StartTop, start: START) -> None:
    orders, stock = start("orders", "wait"), start("stock", "wait")
    screen = top()
    screen.wait_for("▸  orders  running", "   stock   running")
    screen.press("Down")
    screen.wait_for("▸  stock")
    screen.press("+")
    screen.wait_for("stock: workers: 2 (before: 1)", "worker-2/thread-1")
    assert (len(orders.workers), len(stock.workers)) == (1, 2)
    screen.press("s")
    stock.wait_for_log("worker-2: the stacks of its threads")
    screen.press("-")
    screen.wait_for("stock: workers: 1 (before: 2)")
    wait_until(lambda: len(stock.workers) == 1, TIMEOUT, "one worker")
    screen.press("r")
    screen.wait_for("Reload stock? y: yes, any other key: no")
    screen.press("y")
    stock.wait_for_log("reload")
    assert "stacks" not in orders.err
    orders.stop()
    stock.stop()


def test_pools_are_shown_with_those_who_hold_and_wait_and_can_be_paused(
    top: StartTop, start_daemon: StartDaemon, run: Path
) -> None:
    options = ("--processes", "2", "--threads", "3", "--max-connections", "2")
    pidfile = str(run / "orders.pid")
    database = SQLiteDatabase(Path("shop.sqlite3"))  # in the daemon's directory
    daemon = start_daemon(database, "count", *options, "--pidfile", pidfile)
    screen = top(size=(100, 32))
    screen.wait_for("waits for a connection in the last 3 s", " of 60", "in count")

    def all_in_use() -> str | None:
        seen = screen.screen()
        pools = re.findall(r"^default: .*$", seen, re.MULTILINE)
        holders = re.findall(r"units\.py:\d+ in count", seen)
        # In use, idle, waiting, cap.
        right = len(pools) == 1 and re.search(r"█{12} +4 +0 +2 +4 ", pools[0])
        return seen if right and len(holders) == 4 else None

    save(wait_until(all_in_use, TIMEOUT, "the pool in use"))
    screen.press("p")
    screen.wait_for("Pause all pools of orders?")
    screen.press("y")
    screen.wait_for("orders: pause: sent to 2 workers", "▸  orders  paused", "paused default:")
    screen.press("P")
    screen.wait_for("orders: resume: sent to 2 workers", "▸  orders  running")
    daemon.stop()


def test_a_daemon_that_dies_while_shown_is_marked_and_the_others_go_on(
    top: StartTop, start: START, run: Path
) -> None:
    orders, stock = start("orders", "wait"), start("stock", "wait")
    screen = top()
    screen.wait_for("▸  orders  running", "   stock   running")
    orders.signal(signal.SIGKILL)
    screen.wait_for("▸  orders  ended", "   stock   running", "its last answer is")
    screen.press("+")
    screen.wait_for("orders has ended")
    stock.signal(signal.SIGSTOP)
    screen.wait_for("   stock   silent")
    stock.signal(signal.SIGCONT)
    screen.wait_for("   stock   running")
    stock.stop()
    screen.wait_for("   stock   ended")


def test_the_screen_follows_the_terminals_size(top: StartTop, start: START) -> None:
    daemon = start("orders", "wait")
    screen = top(size=(100, 30), COLUMNS="80", LINES="24")  # which a shell may have exported
    screen.wait_for("UNITS/S", "MEMORY", "worker-1/thread-1", "? help  q quit")
    screen.resize(40, 10)
    seen = screen.wait_for("more lines: page down", "▸  orders  running")
    assert "MEMORY" not in seen
    screen.press("PPage", "End")
    screen.wait_for("worker-1/thread-1")
    screen.resize(3, 2)
    screen.press("Home")
    wait_until(lambda: screen.screen() == "  …\n  …", TIMEOUT, "next to nothing")
    screen.resize(100, 30)
    screen.wait_for("▸  orders  running", "MEMORY")
    daemon.stop()


def test_colours_are_left_out_where_they_are_not_wanted(top: StartTop, start: START) -> None:
    daemon = start("orders", "wait")
    coloured = re.compile(r"\x1b\[[\d;]*3[1-7]m")
    with_colours, without = top(), top(NO_COLOR="1")
    for screen in (with_colours, without):
        screen.wait_for("▸  orders  running")
    assert coloured.search(with_colours.screen(styled=True))
    assert not coloured.search(without.screen(styled=True))
    daemon.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_the_terminal_back(top: StartTop, number: signal.Signals) -> None:
    screen = top()
    screen.wait_for("No daemon is running in")
    (command,) = processes.children(screen.pid)
    os.kill(command.pid, number)
    assert screen.ends_with() == 0
    assert "No daemon" not in screen.screen()


def test_for_a_terminal_that_can_only_write_the_message_says_what_to_use(top: StartTop) -> None:
    screen = top("env", "TERM=dumb")  # tmux sets its own
    screen.wait_for("CommandError: top needs a terminal; without one, give --once or --json.")
    assert screen.ends_with() == 1
