"""A user's mistake gets one line that names it, and no worker.

Each starts a process, so there are only some of the values that the unit tests have too.
"""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, UNITS, Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.support.matrix import some

pytestmark = pytest.mark.once

IDLE = f"{UNITS}.idle"
USAGE = 2


def complaint(daemon: Daemon, status: int = 1) -> str:
    """The one line with which the daemon has refused to start."""
    assert daemon.process.wait(TIMEOUT) == status, daemon.err
    daemon.assert_nothing_left()
    assert "Traceback" not in daemon.err
    assert daemon.journal.events("unit") == []
    assert daemon.out == ""
    *_usage, line = daemon.err.splitlines()
    if status == 1:
        assert daemon.err.splitlines() == [line]
    return line


@pytest.mark.parametrize(
    ("option", "value", "valid"),
    some(
        [
            ("--processes", "0", "from 1 to"),
            ("--processes", "-1", "from 1 to"),
            ("--threads", "0", "from 1 to"),
            ("--max-connections", "0", "from 1 to"),
            ("--idle-interval", "0", "from 0.01 to"),
            ("--idle-interval", "nan", "from 0.01 to"),
            ("--graceful-timeout", "-1", "from 0 to"),
            ("--graceful-timeout", "inf", "from 0 to"),
        ],
        2,
    ),
)
def test_an_option_out_of_range_is_named_with_its_value_and_what_is_valid(
    start_command: StartDaemon, sqlite: SQLiteDatabase, option: str, value: str, valid: str
) -> None:
    line = complaint(start_command(sqlite, "rundaemon", IDLE, f"{option}={value}"))
    assert line.startswith(f"CommandError: {option} is {value}")
    assert valid in line


@pytest.mark.parametrize(
    ("option", "value"),
    some(
        [
            ("--processes", "ten"),
            ("--threads", "1.5"),
            ("--idle-interval", "soon"),
        ],
        1,
    ),
)
def test_an_option_of_the_wrong_type_is_named_with_its_value(
    start_command: StartDaemon, sqlite: SQLiteDatabase, option: str, value: str
) -> None:
    line = complaint(start_command(sqlite, "rundaemon", IDLE, f"{option}={value}"), status=2)
    assert option in line
    assert repr(value) in line


@pytest.mark.parametrize(
    ("settings", "texts"),
    some(
        [
            ({"PROCESSES": 0}, ["POOLDAEMON['PROCESSES'] is 0", "from 1 to"]),
            ({"THREADS": "4"}, ["POOLDAEMON['THREADS'] is '4'", "whole number"]),
            ({"MAX_CONNECTIONS": 2.5}, ["POOLDAEMON['MAX_CONNECTIONS'] is 2.5", "whole number"]),
            ({"PROCESSES": True}, ["POOLDAEMON['PROCESSES'] is True", "whole number"]),
            ({"IDLE_INTERVAL": None}, ["POOLDAEMON['IDLE_INTERVAL'] is None", "seconds"]),
            ({"PROCESES": 2}, ["'PROCESES'", "Did you mean 'PROCESSES'?"]),
            ({"processes": 2}, ["'processes'", "PROCESSES"]),
            (["PROCESSES"], ["POOLDAEMON is ['PROCESSES']", "dict"]),
            ({"PIDFILE": 5}, ["POOLDAEMON['PIDFILE'] is 5"]),
            ({"LOGFILE": True}, ["POOLDAEMON['LOGFILE'] is True"]),
        ],
        3,
    ),
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_valid(
    start_command: StartDaemon, sqlite: SQLiteDatabase, settings: Any, texts: list[str]
) -> None:
    line = complaint(start_command(sqlite, "rundaemon", IDLE, POOLDAEMON=settings))
    assert line.startswith("CommandError: ")
    assert [text for text in texts if text not in line] == [], line


@pytest.mark.parametrize(
    ("target", "reason"),
    some(
        [
            ("no_such_module.work", "No module named 'no_such_module'"),
            (f"{UNITS}.no_such_unit", "no_such_unit"),
            ("nodots", "nodots"),
            (f"{UNITS}.not_callable", "not callable"),
            ("tests.lifecycle.project.broken.unit", "name 'undefined' is not defined"),
            (".relative", ".relative"),
            ("..relative.unit", "..relative"),
        ],
        3,
    ),
)
def test_a_target_that_cannot_be_used_is_named_with_the_reason(
    start_command: StartDaemon, sqlite: SQLiteDatabase, target: str, reason: str
) -> None:
    line = complaint(start_command(sqlite, "rundaemon", target))
    assert line.startswith("CommandError: ")
    assert repr(target) in line
    assert reason in line


def test_a_target_is_needed(start_command: StartDaemon, sqlite: SQLiteDatabase) -> None:
    line = complaint(start_command(sqlite, "rundaemon"))
    assert "POOLDAEMON['TARGET']" in line


def test_a_target_in_the_settings_that_is_no_path_is_named(
    start_command: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    line = complaint(start_command(sqlite, "rundaemon", POOLDAEMON={"TARGET": 5}))
    assert "5" in line
    assert line.startswith("CommandError: ")


def test_the_target_of_the_settings_is_run_when_none_is_given(
    start_command: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_command(sqlite, "rundaemon", POOLDAEMON={"TARGET": IDLE})
    daemon.wait_for("unit")
    daemon.stop()


def test_the_command_line_goes_before_the_settings(
    start_command: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    settings = {"PROCESSES": 1, "THREADS": 2, "IDLE_INTERVAL": 0.05}
    daemon = start_command(sqlite, "rundaemon", IDLE, "--processes", "3", POOLDAEMON=settings)
    daemon.wait_for_threads("unit", 6)
    assert len(daemon.workers) == 3
    daemon.stop()
    assert len({(e["pid"], e["thread"]) for e in daemon.journal.events("unit")}) == 6


@pytest.mark.parametrize("logfile", ["missing/log", "."])
@pytest.mark.parametrize("detach", [(), ("--detach",)])
def test_a_logfile_that_cannot_be_written_is_named(
    start_command: StartDaemon, sqlite: SQLiteDatabase, logfile: str, detach: tuple[str, ...]
) -> None:
    options = ("--logfile", logfile, "--pidfile", "pid", *detach)
    line = complaint(start_command(sqlite, "rundaemon", IDLE, *options))
    assert line.startswith(f"CommandError: --logfile {logfile}: ")


def test_detaching_without_a_logfile_is_refused(
    start_command: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    line = complaint(start_command(sqlite, "rundaemon", IDLE, "--detach"))
    assert "--detach needs --logfile" in line


@pytest.mark.parametrize("pidfile", ["missing/pid", "."])
def test_a_pidfile_that_cannot_be_written_is_named(
    start_command: StartDaemon, sqlite: SQLiteDatabase, pidfile: str
) -> None:
    line = complaint(start_command(sqlite, "rundaemon", IDLE, "--pidfile", pidfile))
    assert line.startswith(f"CommandError: --pidfile {pidfile}: ")


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="needs /sys")
def test_a_pidfile_in_a_directory_that_cannot_be_written_is_named(
    start_command: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    pidfile = "/sys/kernel/daemon.pid"  # where even root may not
    daemon = start_command(sqlite, "rundaemon", IDLE, POOLDAEMON={"PIDFILE": pidfile})
    line = complaint(daemon)
    assert line.startswith(f"CommandError: settings.POOLDAEMON['PIDFILE'] {pidfile}: ")


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing/health", "its directory does not exist"), (".", "it is not writable")],
)
def test_a_health_file_that_cannot_be_written_is_named(
    start_command: StartDaemon, sqlite: SQLiteDatabase, path: str, reason: str
) -> None:
    daemon = start_command(sqlite, "work", "idle", "--health-file", path)
    line = complaint(daemon)
    assert line == f"CommandError: --health-file {daemon.directory / path}: {reason}"


@pytest.mark.parametrize(("action", "status"), [("status", 4), ("stop", 1), ("reload", 1)])
def test_an_action_on_a_pidfile_that_is_a_symlink_is_refused(
    start_command: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path, action: str, status: int
) -> None:
    link = tmp_path / "pid"
    link.symlink_to(tmp_path / "precious")
    daemon = start_command(sqlite, "work", action, "idle", f"--pidfile={link}")
    line = complaint(daemon, status)
    assert line == f"CommandError: work: the pidfile {link}: it is a symbolic link"


def test_an_option_that_is_not_there_is_named(
    start_command: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    line = complaint(start_command(sqlite, "work", "idle", "--procesess", "2"), USAGE)
    assert line.endswith("work: error: unrecognized arguments: --procesess 2")


def test_a_pidfile_that_is_a_symlink_is_refused_and_what_it_points_to_left_alone(
    start_command: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    link = tmp_path / "pid"
    link.symlink_to(precious)
    daemon = start_command(sqlite, "rundaemon", IDLE, f"--pidfile={link}")
    line = complaint(daemon)
    assert line.startswith(f"CommandError: --pidfile {link}: ")
    assert "symbolic link" in line
    assert precious.read_text() == "data"
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("words", "texts"),
    some(
        [
            (("strat",), ["'strat' is not an action.", "Did you mean 'start'?"]),
            (("scale",), ["scale: the number of workers must be", "from 1 to"]),
            (("scale", "0"), ["scale 0: the number of workers must be", "from 1 to"]),
            (("scale", "many"), ["scale many: the number of workers must be", "whole number"]),
            (("stop", "now"), ["stop takes no argument, but got 'now'"]),
        ],
        3,
    ),
)
def test_words_that_are_no_action_are_named_with_what_is_valid(
    start_command: StartDaemon, sqlite: SQLiteDatabase, words: tuple[str, ...], texts: list[str]
) -> None:
    daemon = start_command(sqlite, "work", *words, "idle", "--pidfile", "pid")
    line = complaint(daemon, USAGE)
    assert [text for text in texts if text not in line] == [], line


def test_a_mistyped_action_of_rundaemon_is_taken_for_a_target_and_the_action_suggested(
    start_command: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    line = complaint(start_command(sqlite, "rundaemon", "strat"))
    assert "Did you mean 'start'?" in line


@pytest.mark.parametrize(
    "words", some([("start",), ("stop",), ("status",), ("restart",), ("scale", "2")], 2)
)
def test_an_action_needs_a_pidfile(
    start_command: StartDaemon, sqlite: SQLiteDatabase, words: tuple[str, ...]
) -> None:
    line = complaint(start_command(sqlite, "work", *words, "idle"))
    assert f"{words[0]} needs the daemon's pidfile" in line
    assert "POOLDAEMON['PIDFILE']" in line


@pytest.mark.parametrize("action", ["run", "start"])
def test_something_else_where_the_control_socket_belongs_is_named_and_left_alone(
    start_command: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path, action: str
) -> None:
    there = tmp_path / "pid.sock"
    there.write_text("data")
    options = (f"--pidfile={tmp_path / 'pid'}", "--logfile=log")
    daemon = start_command(sqlite, "work", action, "idle", *options)
    line = complaint(daemon)
    assert line == f"CommandError: the control socket {there}: it exists and is not a socket"
    assert there.read_text() == "data"
    assert not (tmp_path / "pid").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_control_socket_of_another_user_is_named_and_left_alone(
    start_command: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    there = tmp_path / "pid.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(there))
    os.chown(there, 12345, 12345)
    line = complaint(start_command(sqlite, "work", "idle", f"--pidfile={tmp_path / 'pid'}"))
    assert line.startswith(f"CommandError: the control socket {there}: ")
    assert "another user" in line
    assert there.exists()


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--user=nobodi", "--user nobodi: no such user. Did you mean 'nobody'?"),
        ("--group=zzz", "--group zzz: no such group."),
        ("--umask=9", "--umask is 9; it must be octal, from 000 to 777."),
        ("--directory=missing", "--directory missing: no such directory."),
    ],
)
def test_surroundings_that_are_not_there_are_named(
    start_command: StartDaemon, sqlite: SQLiteDatabase, option: str, text: str
) -> None:
    files = ("--logfile=log", "--pidfile=pid")
    daemon = start_command(sqlite, "work", "start", "idle", *files, option)
    assert complaint(daemon) == f"CommandError: {text}"


def test_a_user_in_the_foreground_is_refused(
    start_command: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    line = complaint(start_command(sqlite, "work", "idle", "--user=nobody"))
    assert "--user has no effect in the foreground" in line


def test_a_variable_of_the_environment_that_is_wrong_is_named(
    start_command: StartDaemon, sqlite: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLDAEMON_PROCESSES", "many")
    line = complaint(start_command(sqlite, "work", "idle"))
    assert line.startswith("CommandError: POOLDAEMON_PROCESSES is 'many'; it must be a whole")


def test_a_connection_that_setup_leaves_open_is_closed_with_a_warning(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--in-setup", "connect")
    daemon.wait_for("unit")
    assert daemon.log_lines("setup() has left connections open", "default")
    daemon.stop()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_daemon_starts_and_stops_although_its_log_is_on_a_full_disk(
    start_command: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    files = (f"--pidfile={tmp_path / 'pid'}", "--logfile=/dev/full")
    for action in ("start", "stop"):
        command = start_command(sqlite, "work", action, "idle", *files)
        assert command.process.wait(TIMEOUT) == 0, command.err
    command.assert_nothing_left()
    assert not (tmp_path / "pid").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_log_stops_nothing_and_leaves_nobody(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--logfile", "/dev/full")
    daemon.wait_for("unit")
    (worker,) = daemon.workers
    os.kill(worker, signal.SIGKILL)
    daemon.wait_for("worker_init", 2)
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("worker_init", 4)  # the preflight, and the new worker
    daemon.stop()
    assert "No space left on device" in daemon.err
