"""The screen of top: what is drawn, at which size."""

import datetime
import io

import pytest
from rich.console import Console

from pooldaemon.console.terminal.controls import Controls
from pooldaemon.console.terminal.grid import ASCII, Column, Glyphs, Grid, bar
from pooldaemon.console.terminal.page import Page
from pooldaemon.console.view import DaemonView, History
from tests.unit.statuses import Status, daemon, pool, waits, worker

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def seen(*samples: Status, name: str = "shop") -> DaemonView:
    history = History(name)
    for second, status in enumerate(samples):
        history.answered(status, float(second))
    return history.view(len(samples) - 1.0)


def drawn(
    *views: DaemonView,
    width: int = 120,
    height: int = 40,
    controls: Controls | None = None,
    glyphs: Glyphs | None = None,
) -> list[str]:
    """The lines of the screen, without the blanks at their ends."""
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    page = Page(console, "/run/shop", glyphs or Glyphs())
    with console.capture() as captured:
        console.print(page.draw(views, controls or Controls(), NOON), end="")
    return [line.rstrip() for line in captured.get().splitlines()]


def line(lines: list[str], start: str) -> str:
    (found,) = [one for one in lines if one.startswith(start)]
    return found


BUSY = daemon(
    worker(
        1,
        pool(in_use=3, idle=1, waiting=2, timeouts=1, discards={"dead": 2}, wait=waits(90, 9, 1)),
        units=70,
        busy=2,
        running=[
            {"thread": "worker-1/thread-1", "seconds": 3.25, "done": 5, "total": 10},
            {"thread": "worker-1/thread-2", "seconds": 0.5, "done": None, "total": None},
        ],
    ),
    worker(2, pool(cap=4), state="booting", silent=9.0),
    units=80,
    failures=2,
    restarts=1,
    last_death="worker-2 (pid 7) was ended by SIGKILL",
)


BEFORE = daemon(worker(1, pool(), units=50), units=60)


def test_daemons_pools_workers_and_units_are_shown() -> None:
    assert drawn(seen(BEFORE, BUSY), width=86, height=24) == [
        "pooldaemon top  12:00:00  /run/shop",
        "   DAEMON  STATE           UP  WORKERS  UNITS/S  FAILED  RESTARTS  IN USE  WAITING",
        "▸  shop    running  1 h 0 min      1/2     20.0       2         1       3        2",
        "",
        "shop  running, pid 100, up 1 h 0 min",
        "last death: worker-2 (pid 7) was ended by SIGKILL",
        "",
        "Pools, summed over all workers; P50, P95, P99: waits for a connection in the last 1 s",
        "POOL                                       IN USE  IDLE  WAITING  CAP    P95  TIMEOUTS",
        "default: mysql shop@db/def…  ████▒▒······       3     1        2    8  ≤5 ms         1",
        "",
        "Workers",
        "WORKER    PID  STATE                     UP  UNITS/S  BUSY  IN USE  WAITING  RESTARTS",
        "worker-1  101  ready                  1 min     20.0   2/2     3/4        2         0",
        "worker-2  102  booting, silent 9.0 s  1 min      0.0   0/2     0/4        0         0",
        "",
        "Running units of work: 2, longest first",
        "THREAD               FOR  PROGRESS",
        "worker-1/thread-1  3.2 s  ██████······  50%  5 of 10",
        "worker-1/thread-2  0.5 s",
        "",
        "",
        "",
        "? help  q quit  + - workers  r reload  s stacks  p pause  P resume",
    ]


def test_a_narrow_terminal_leaves_out_what_is_needed_least() -> None:
    lines = drawn(seen(BEFORE, BUSY), width=60)
    assert line(lines, "POOL").split() == ["POOL", "IN", "USE", "WAITING", "CAP"]
    assert line(lines, "WORKER ").split()[-4:] == ["UNITS/S", "BUSY", "IN", "USE"]
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize("width", [1, 2, 10, 30, 80])
@pytest.mark.parametrize("height", [1, 2, 4, 8])
def test_any_size_is_filled_and_not_left(width: int, height: int) -> None:
    controls = Controls()
    controls.message = "shop: workers: 2 (before: 1)"
    lines = drawn(seen(BEFORE, BUSY), seen(BUSY, name="b"), width=width, height=height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width


def test_what_has_no_room_is_counted_and_can_be_scrolled_to() -> None:
    view, controls = seen(BEFORE, BUSY), Controls()
    first = drawn(view, height=12, controls=controls)
    assert first[-2] == "10 more lines: page down"
    controls.press("page down", [view], {})
    second = drawn(view, height=12, controls=controls)
    assert second[1] == "Workers"
    controls.press("end", [view], {})
    last = drawn(view, height=12, controls=controls)
    assert last[-3].startswith("worker-1/thread-2")
    assert last[-2] == ""
    assert controls.offset == 10  # not past the end


def test_without_a_daemon_that_is_said() -> None:
    lines = drawn(height=8)
    assert lines[1] == "No daemon is running in /run/shop. Waiting for one to start."


def test_a_daemon_that_ended_shows_no_old_numbers_in_the_list() -> None:
    history = History("shop")
    history.answered(BUSY, 0.0)
    history.ended()
    lines = drawn(history.view(4.0), seen(BEFORE, BUSY, name="orders"))
    assert line(lines, "   shop") == "   shop    ended"
    assert line(lines, "▸  orders").split()[2] == "running"


def test_a_daemon_that_does_not_answer_says_why() -> None:
    history = History("shop")
    history.answered(BUSY, 0.0)
    history.failed("timed out")
    lines = drawn(history.view(4.0))
    assert "shop  silent: timed out; its last answer is 4.0 s old" in lines


def test_holders_are_shown_with_their_places() -> None:
    held = [{"thread": "worker-1/thread-1", "seconds": 4.0, "place": "shop/views.py:31 in pay"}]
    lines = drawn(seen(daemon(worker(1, pool(in_use=1, holders=held)))))
    held_by = line(lines, "worker-1/thread-1")
    assert held_by.endswith("  4.0 s  shop/views.py:31 in pay  mysql shop@db/default")


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ([worker(1, pool(paused=True)), worker(2, pool(paused=True))], "paused default: mysql"),
        ([worker(1, pool(paused=True)), worker(2, pool())], "paused in 1 of 2 default: mysql"),
    ],
)
def test_a_paused_pool_is_marked(workers: list[Status], said: str) -> None:
    lines = drawn(seen(daemon(*workers)))
    assert line(lines, said)
    assert line(lines, "▸  shop").split()[2] == "paused"


def test_a_failed_reload_is_shown_with_its_reason() -> None:
    reload = {"number": 1, "state": "failed", "reason": "SyntaxError: invalid syntax"}
    assert "reload failed: SyntaxError: invalid syntax" in drawn(seen(daemon(reload=reload)))


def test_a_terminal_without_unicode_gets_other_characters() -> None:
    lines = drawn(seen(BEFORE, BUSY), glyphs=ASCII)
    assert line(lines, ">  shop")
    assert "####--......" in line(lines, "default:")
    assert "<=1 ms" in line(lines, "default:")


def test_the_help_names_every_key() -> None:
    controls = Controls()
    controls.press("?", [], {})
    lines = drawn(controls=controls)
    for key in ("up down", "page up, page down", "+", "-", "r", "s", "p", "P", "?", "q"):
        assert line(lines, f"{key}  ")


def test_a_bar_shows_what_little_there_is_and_never_more_than_all() -> None:
    assert bar([(1, "#", ""), (0, "-", "")], 1000, ".").plain == "#..........."
    assert bar([(3, "#", ""), (3, "-", "")], 4, ".").plain == "#########---"
    assert bar([(0, "#", "")], 0, ".").plain == "............"


def test_names_are_cut_and_numbers_are_not() -> None:
    columns = [
        Column("A", lambda row: row[0], name=True),
        Column("B", lambda row: row[1], name=True),
        Column("N", lambda row: row[2]),
    ]
    console = Console(width=40, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(Grid(None, columns, [("a" * 30, "b" * 30, "12345")]))
    assert captured.get().split()[3:] == ["a" * 14 + "…", "b" * 15 + "…", "12345"]
