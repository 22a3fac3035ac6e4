"""manage.py pooldaemon top: how daemons are asked, and what it prints without a terminal."""

import json
import sys
import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from pooldaemon.console import daemons
from pooldaemon.console.daemons import Daemon
from pooldaemon.console.view import Health
from pooldaemon.console.watch import Watch
from tests.support.poll import wait_until
from tests.unit.statuses import Canned, Status, daemon, pool, waits, worker

DEADLINE = 30.0


def answer(command: str, **values: Any) -> Status:
    return daemon(worker(1, pool(in_use=2, wait=waits(9, 1))), worker(2))


def refuse(command: str, **values: Any) -> Status:
    raise ConnectionRefusedError(111, "Connection refused")


def looked(watch: Watch, now: float = 0.0) -> dict[str, Health]:
    watch.ask(now)
    watch.wait()
    watch.take(now)
    return {view.name: view.health for view in watch.views(now)}


def test_one_that_hangs_does_not_hold_up_the_others() -> None:
    freed = threading.Event()
    asked: list[str] = []

    def hang(command: str, **values: Any) -> Status:
        asked.append(command)
        freed.wait(DEADLINE)
        return answer(command)

    watch = Watch(lambda: [Canned("hangs", hang), Canned("works", answer)])
    try:
        for second in (0.0, 5.0):
            watch.ask(second)
            wait_until(lambda now=second: watch.take(now), DEADLINE, "an answer")
        by_name = {view.name: view.health for view in watch.views(5.0)}
        assert by_name == {"hangs": Health.SILENT, "works": Health.ANSWERS}
        assert asked == ["status"]  # it is not asked again before it has answered
    finally:
        freed.set()
        watch.wait()


def test_a_daemon_that_ends_stays_in_the_list_until_it_is_back() -> None:
    found: list[Daemon] = [Canned("shop", answer)]
    watch = Watch(lambda: found)
    assert looked(watch) == {"shop": Health.ANSWERS}
    found.clear()
    assert looked(watch) == {"shop": Health.ENDED}
    found.append(Canned("shop", answer))
    assert looked(watch) == {"shop": Health.ANSWERS}


def test_one_that_was_killed_before_is_listed_as_ended() -> None:
    assert looked(Watch(lambda: [Canned("shop", answer, pid=None)])) == {"shop": Health.ENDED}


def test_one_that_refuses_is_silent_and_says_why() -> None:
    watch = Watch(lambda: [Canned("shop", refuse), Canned("odd", lambda command: {"error": "no"})])
    assert looked(watch) == {"shop": Health.SILENT, "odd": Health.SILENT}
    assert [view.error for view in watch.views(0.0)] == ["no", "Connection refused"]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Daemon]:
    """What is found in any directory."""
    daemons_there: list[Daemon] = []
    monkeypatch.setattr(daemons, "find", lambda directory: daemons_there)
    return daemons_there


def top(*options: str) -> int:
    """Returns its exit status."""
    try:
        call_command("pooldaemon", "top", "--directory", "/run/shop", *options)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_once_prints_every_daemon_without_colours(
    found: list[Daemon], capsys: pytest.CaptureFixture[str]
) -> None:
    found += [Canned("orders", answer), Canned("stock", answer)]
    assert top("--once") == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "orders  running, pid 100" in printed
    assert "stock  running, pid 100" in printed
    assert "waits for a connection since the start" in printed


def test_json_is_what_the_daemons_answered(
    found: list[Daemon], capsys: pytest.CaptureFixture[str]
) -> None:
    found += [Canned("orders", answer), Canned("stock", refuse)]
    assert top("--json") == 0
    orders, stock = json.loads(capsys.readouterr().out)["daemons"]
    assert (orders["name"], orders["health"], len(orders["workers"])) == ("orders", "answers", 2)
    assert orders["workers"][0]["pools"][0]["wait"]["counts"][:2] == [9, 1]
    assert stock == {"name": "stock", "health": "silent", "error": "Connection refused"}


def test_one_daemon_of_several_can_be_named(
    found: list[Daemon], capsys: pytest.CaptureFixture[str]
) -> None:
    found += [Canned("orders", answer), Canned("stock", answer)]
    assert top("--json", "--daemon", "stock") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["daemons"]] == ["stock"]
    with pytest.raises(CommandError, match="Did you mean 'stock'"):
        top("--once", "--daemon", "stok")


def test_without_a_daemon_the_status_is_that_of_status(
    found: list[Daemon], capsys: pytest.CaptureFixture[str]
) -> None:
    assert top("--once") == 3
    assert capsys.readouterr().out == "No daemon is running in /run/shop.\n"
    assert top("--json") == 3
    assert json.loads(capsys.readouterr().out) == {"daemons": []}
    found.append(Canned("dead", answer, pid=None))
    assert top("--once") == 3
    assert "dead  ended" in capsys.readouterr().out


def test_without_a_terminal_it_says_what_to_give() -> None:
    with pytest.raises(CommandError, match="top needs a terminal; without one, give --once or"):
        top()


@pytest.mark.parametrize("seconds", ["0.1", "nan", "9999"])
def test_an_impossible_interval_is_refused(seconds: str) -> None:
    with pytest.raises(CommandError, match=r"--interval is .*; it must be a number of seconds"):
        top("--once", "--interval", seconds)


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith("pooldaemon.console.t"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(CommandError, match=r"needs the package rich.console: pip install 'pool"):
        top("--once")
