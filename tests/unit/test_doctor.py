"""manage.py pooldaemon doctor: its options, what it prints, and its exit statuses."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from pooldaemon.console import doctor
from pooldaemon.console.daemons import Daemon
from pooldaemon.workers.process.pidfile import PidFile
from tests.unit.advice import daemon, pool
from tests.unit.databases import AddDatabase


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A daemon lives there, and listens no more."""
    pidfile = PidFile(str(tmp_path / "deliver.pid"))
    pidfile.acquire()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{pidfile.path}.sock")
    yield tmp_path
    pidfile.release()


def test_without_servers_and_daemons_it_has_nothing_to_say(
    alias: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("pooldaemon", "doctor", "--database", alias)
    call_command("pooldaemon", "doctor", "--database", alias, "--json")
    assert capsys.readouterr() == ("[]\n", "")


def test_what_it_finds_is_printed_with_status_1(
    alias: str, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = daemon(pool(name="a\x1b[2Jb", timeouts=3))
    monkeypatch.setattr(Daemon, "ask", lambda *_: status)
    words = ("doctor", "--database", alias, "--directory", str(directory))
    with pytest.raises(SystemExit) as raised:
        call_command("pooldaemon", *words)
    assert raised.value.code == doctor.FINDINGS
    found, advice = capsys.readouterr().out.splitlines()
    assert found.startswith("pooldaemon.D006 deliver, pool a [2Jb: With 4 connections in a worker")
    assert advice.startswith("    Set DATABASES['default']['OPTIONS']['pool']['pool_size'] so that")
    assert advice.endswith(" See docs/checks.rst#pooldaemon-d006.")

    with pytest.raises(SystemExit):
        call_command("pooldaemon", *words, "--json")
    (one,) = json.loads(capsys.readouterr().out)
    assert one.keys() == {"id", "severity", "where", "found", "advice"}
    assert (one["id"], one["severity"]) == ("pooldaemon.D006", "warning")


def test_findings_of_other_databases_are_left_out(
    alias: str, add_database: AddDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"pool": {"pool_size": 0}}
    other = add_database(ENGINE="pooldaemon.backends.sqlite3", NAME="x", OPTIONS=wrong)
    call_command("pooldaemon", "doctor", "--database", alias)
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit):
        call_command("pooldaemon", "doctor", "--database", other)
    assert capsys.readouterr().out.startswith(f"pooldaemon.E001 {other}: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--database", "defalt"], r"--database defalt: .* Did you mean 'default'\? Valid: "),
        (["--web-processes", "-1"], "--web-processes is -1; it must be a whole number from 0 to"),
    ],
)
def test_an_option_that_makes_no_sense_has_status_2(words: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said) as raised:
        call_command("pooldaemon", "doctor", *words)
    assert raised.value.returncode == doctor.BLIND


def test_daemons_that_can_not_be_looked_at_are_said_with_status_2(
    alias: str, directory: Path, settings: Settings
) -> None:
    with pytest.raises(CommandError, match="Not examined: daemon deliver: Conn") as raised:
        call_command("pooldaemon", "doctor", "--database", alias, "--directory", str(directory))
    assert raised.value.returncode == doctor.BLIND
    settings.POOLDAEMON = {"PIDFILE": directory / "elsewhere" / "{command}.pid"}
    with pytest.raises(CommandError, match="elsewhere: No such file"):
        call_command("pooldaemon", "doctor", "--database", alias)


def test_a_refusal_of_a_daemon_is_said_with_status_2(
    alias: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Daemon, "ask", lambda *_: {"error": "not understood"})
    with pytest.raises(CommandError, match="daemon deliver: not understood"):
        call_command("pooldaemon", "doctor", "--database", alias, "--directory", str(directory))
