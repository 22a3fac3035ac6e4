"""manage.py pooldaemon: its verbs, and how it finds daemons."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.core.management import call_command, execute_from_command_line
from django.core.management.base import CommandError
from pytest_django import Settings

from pooldaemon.console import VERBS
from pooldaemon.console.daemons import choose, find
from pooldaemon.workers.process.pidfile import PidFile

AddDaemon = Callable[..., None]


@pytest.fixture
def add_daemon(tmp_path: Path) -> Iterator[AddDaemon]:
    """`add_daemon("shop")`: a pidfile that is held, with a socket; alive=False: held no more."""
    with ExitStack() as held:

        def add(name: str, *, alive: bool = True) -> None:
            pidfile = PidFile(str(tmp_path / f"{name}.pid"))
            pidfile.acquire()
            held.callback(pidfile.release) if alive else pidfile.close_descriptor()
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(f"{pidfile.path}.sock")

        yield add


def test_for_an_unknown_verb_the_message_names_the_nearest() -> None:
    with pytest.raises(CommandError, match=r"'lst' is not a verb. Did you mean 'list'\? "):
        call_command("pooldaemon", "lst")


def test_without_a_verb_the_message_names_the_valid_ones() -> None:
    with pytest.raises(CommandError, match=f"^pooldaemon needs a verb. Valid: {', '.join(VERBS)}."):
        call_command("pooldaemon")


@pytest.mark.parametrize("words", [["--traceback", "list"], ["list", "--traceback"]])
def test_options_of_django_may_stand_before_and_behind_the_verb(
    words: list[str], tmp_path: Path
) -> None:
    words += ["--directory", str(tmp_path / "x")]
    # With --traceback it is raised; without, only its message is printed.
    with pytest.raises(CommandError, match="x: No such file or directory"):
        execute_from_command_line(["manage.py", "pooldaemon", *words])


def test_a_daemon_that_is_dead_is_reported_as_such(
    add_daemon: AddDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_daemon("alive")
    add_daemon("dead", alive=False)
    (tmp_path / "other.sock").touch()
    assert [(one.name, one.is_alive) for one in find(tmp_path)] == [
        ("alive", True),
        ("dead", False),
    ]
    call_command("pooldaemon", "list", "--json", "--directory", str(tmp_path))
    assert [one["pid"] for one in json.loads(capsys.readouterr().out)] == [os.getpid(), None]


def test_a_socket_of_another_program_is_passed_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "gunicorn.sock"))
    assert find(tmp_path) == []


def test_the_only_living_daemon_needs_no_name(add_daemon: AddDaemon, tmp_path: Path) -> None:
    add_daemon("alive")
    add_daemon("dead", alive=False)
    assert choose(None, str(tmp_path)).name == "alive"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, r"Several daemons are running in .*: orders, stock\. Give --daemon NAME\."),
        ("stok", r"--daemon stok: no such daemon. Did you mean 'stock'\? Running in .*: orders, "),
        ("dead", r"--daemon dead: not running. Running in .*: orders, stock\."),
    ],
)
def test_the_message_says_why_a_daemon_can_not_be_chosen(
    name: str | None, said: str, add_daemon: AddDaemon, tmp_path: Path
) -> None:
    add_daemon("orders")
    add_daemon("stock")
    add_daemon("dead", alive=False)
    with pytest.raises(CommandError, match=said):
        choose(name, str(tmp_path))


def test_without_a_daemon_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=f"No daemon is running in {tmp_path}."):
        choose(None, str(tmp_path))


def test_the_directory_is_that_of_the_configured_pidfile(
    add_daemon: AddDaemon, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_daemon("shop")
    settings.POOLDAEMON = {"PIDFILE": tmp_path / "{command}.pid"}
    assert choose(None, None).name == "shop"
    monkeypatch.setenv("POOLDAEMON_PIDFILE", str(tmp_path / "elsewhere" / "x.pid"))
    with pytest.raises(CommandError, match="elsewhere: No such file or directory"):
        choose(None, None)


@pytest.mark.parametrize("pidfile", [None, "/run/{command}/pid"])
def test_without_a_directory_the_option_is_named(pidfile: str | None, settings: Settings) -> None:
    settings.POOLDAEMON = {"PIDFILE": pidfile}
    with pytest.raises(CommandError, match="give --directory DIR"):
        choose(None, None)
