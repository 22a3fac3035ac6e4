"""An operator's commands, whatever the project, the settings and the shell are like."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import ROOT, TIMEOUT, UNITS, Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.lifecycle.project.journal import VARIABLE

pytestmark = pytest.mark.once

IDLE = f"{UNITS}.idle"
IN_A_PIPE = ("bash", "-c", 'set -o pipefail; "$@" | true', "bash")
"""To which nobody listens."""

WRONG_SETTINGS = (
    {"POOLDAEMON": {"PROCESES": 2}},
    {"POOLDAEMON": "PROCESSES=2"},
    {"POOLDAEMON": {"GRACEFUL_TIMEOUT": "long", "PIDFILE": 5, "TARGET": "no.such.target"}},
    {"DATABASES": {"default": {"ENGINE": "pooldaemon.backends.mysql", "CONN_MAX_AGE": 5}}},
)


@pytest.fixture
def pidfile(tmp_path: Path) -> Path:
    return tmp_path / "daemon.pid"


def run_without_project(*words: str) -> subprocess.CompletedProcess[str]:
    """In an environment in which Django's settings can't be imported."""
    return subprocess.run(
        [sys.executable, "-m", "pooldaemon", *words],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "no_such_module", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_daemon_can_be_asked_and_stopped_whatever_its_settings_say_by_now(
    start_command: StartDaemon,
    start_work: StartDaemon,
    sqlite: SQLiteDatabase,
    pidfile: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon = start_work(sqlite, "idle", "--pidfile", str(pidfile))
    daemon.wait_until_ready()
    monkeypatch.setenv("POOLDAEMON_THREDS", "3")
    for wrong in WRONG_SETTINGS:
        asked = start_command(
            sqlite, "rundaemon", "status", "--json", "--pidfile", str(pidfile), **wrong
        )
        assert asked.process.wait(TIMEOUT) == 0, asked.err
        assert json.loads(asked.out)["state"] == "running"
    reloaded = start_command(
        sqlite, "rundaemon", "reload", "--pidfile", str(pidfile), **WRONG_SETTINGS[0]
    )
    assert reloaded.process.wait(TIMEOUT) == 0, reloaded.err
    stopped = start_command(
        sqlite, "rundaemon", "stop", "--pidfile", str(pidfile), **WRONG_SETTINGS[2]
    )
    assert stopped.process.wait(TIMEOUT) == 0, stopped.err
    daemon.assert_clean_end()


def test_without_a_project_that_can_be_loaded_a_daemon_can_be_asked_reloaded_and_stopped(
    start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    where = ("--pidfile", str(pidfile))
    assert run_without_project("stop", *where).stdout == "daemon: not running\n"
    assert run_without_project("status", *where).returncode == 3
    daemon = start_work(sqlite, "idle", *where)
    daemon.wait_until_ready()
    result = run_without_project("status", "--json", *where)
    assert json.loads(result.stdout)["pid"] == daemon.pid
    assert run_without_project("scale", "2", *where).stdout == "daemon: workers: 2 (before: 1)\n"
    assert run_without_project("reload", *where).stdout == "daemon: reloaded\n"
    assert run_without_project("stop", *where).stdout == "daemon: stopped\n"
    daemon.assert_clean_end()
    assert run_without_project("reload", *where).returncode == 7
    wrong = run_without_project("start", *where)
    assert wrong.returncode == 2
    assert "'start' is not one of stop, reload, status, scale" in wrong.stderr


def test_a_second_target_is_told_that_it_needs_a_pidfile_of_its_own(
    start_daemon: StartDaemon, start_command: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    where = ("--pidfile", str(pidfile))
    first = start_daemon(sqlite, "idle", *where)
    first.wait_until_ready()
    needs = f"{pidfile} belongs to the daemon that runs {IDLE}"
    second = start_daemon(sqlite, "log", *where)
    assert second.process.wait(TIMEOUT) == 1
    assert second.err == f"CommandError: {needs}; give another --pidfile\n"
    again = start_daemon(sqlite, "idle", *where)
    assert again.process.wait(TIMEOUT) == 1
    assert "is locked by a running daemon" in again.err
    logs = f"{UNITS}.log"
    restarted = start_command(sqlite, "rundaemon", "restart", logs, *where, "--logfile", "log")
    assert restarted.process.wait(TIMEOUT) == 1
    assert restarted.err == f"CommandError: rundaemon: {needs}; stop it first\n"
    status = start_command(sqlite, "rundaemon", "status", *where)
    assert status.process.wait(TIMEOUT) == 0
    assert f"target: {IDLE}" in status.out
    first.stop()


def test_a_logfile_of_a_dash_is_standard_error(
    start_work: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    settings = {"POOLDAEMON": {"LOGFILE": str(tmp_path / "log")}}
    daemon = start_work(sqlite, "log", "--logfile", "-", **settings)
    daemon.wait_for("unit")
    daemon.stop()
    assert daemon.log_lines("worker-1", "a line of the project's own")
    assert [*tmp_path.glob("**/-"), *tmp_path.glob("log")] == []


def test_a_daemon_in_the_background_does_not_log_to_a_dash(
    start_command: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_command(sqlite, "rundaemon", IDLE, "--detach", "--logfile", "-")
    assert daemon.process.wait(TIMEOUT) == 1
    assert daemon.err.startswith("CommandError: --detach needs --logfile")


@pytest.mark.parametrize("words", [("rundaemon", IDLE, "--until-idle"), ("rundaemon", "status")])
def test_it_is_no_failure_that_nobody_reads_what_is_written_at_the_end(
    start_command: StartDaemon,
    sqlite: SQLiteDatabase,
    pidfile: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    monkeypatch.setattr(Daemon, "prefix", IN_A_PIPE)
    daemon = start_command(sqlite, *words, "--threads", "1", "--pidfile", str(pidfile))
    status = daemon.process.wait(TIMEOUT)
    assert status == (3 if "status" in words else 0), daemon.err
    assert "Broken" not in daemon.err


def test_max_rss_below_what_a_fresh_worker_has_is_refused(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--max-rss", "10")
    assert daemon.process.wait(TIMEOUT) == 3
    assert daemon.journal.events("unit") == []
    assert len(daemon.journal.events("worker_init")) == 5
    assert daemon.log_lines("Giving up", "max_rss is 10 MiB", "before its first unit")


CALLER = f"""
import gc, logging, signal
import django
django.setup()
from django.core.management import call_command

def around():
    loggers = [logging.getLogger(), logging.getLogger("pooldaemon")]
    record = logging.makeLogRecord({{}})
    return (
        [(logger.level, logger.handlers) for logger in loggers],
        [signal.getsignal(number) for number in signal.valid_signals()],
        gc.get_freeze_count(),
        {{name: value for name, value in vars(record).items() if value != "-"}}.keys(),
    )

before = around()
for logfile in (None, "-", "log"):
    call_command("rundaemon", "{IDLE}", threads=1, until_idle=True, logfile=logfile)
    after = around()
    assert after == before, (before, after)
print("the same")
"""


def test_after_call_command_logging_signals_and_collector_are_as_before(
    sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    settings = {"DATABASES": {"default": sqlite.settings}}
    child = subprocess.run(
        [sys.executable, "-c", CALLER],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.lifecycle.project.settings",
            "LIFECYCLE_SETTINGS": json.dumps(settings),
            "PYTHONPATH": str(ROOT),
            VARIABLE: str(tmp_path),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.stdout.endswith("the same\n"), child.stderr
