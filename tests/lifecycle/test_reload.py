"""HUP and `reload`: new code and new settings, one worker at a time, or the old ones go on."""

import json
import os
import pty
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pooldaemon.testing import processes
from tests.lifecycle import proc
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import Database, MySQLDatabase, SQLiteDatabase
from tests.support.freeze import freeze
from tests.support.poll import wait_until

Reload = Callable[[], Daemon]


@pytest.fixture
def pidfile(tmp_path: Path) -> Path:
    return tmp_path / "daemon.pid"


@pytest.fixture
def reload(start_command: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path) -> Reload:
    """Run the action to its end."""

    def run() -> Daemon:
        command = start_command(sqlite, "work", "reload", "idle", f"--pidfile={pidfile}")
        command.process.wait(TIMEOUT)
        assert "Traceback" not in command.err
        return command

    return run


def write_code(daemon: Daemon, text: str) -> None:
    (daemon.directory / "code.py").write_text(text)


def versions(daemon: Daemon) -> set[tuple[int, str]]:
    return {(e["pid"], e["version"]) for e in daemon.journal.events("ended")}


def wait_for_version(daemon: Daemon, version: str, workers: int) -> None:
    wait_until(
        lambda: len({pid for pid, v in versions(daemon) if v == version}) == workers,
        TIMEOUT,
        f"{workers} workers of version {version}",
    )


def test_a_reload_brings_new_code_one_worker_at_a_time_and_cuts_no_unit_off(
    start_work: StartDaemon, database: Database
) -> None:
    daemon = start_work(database, "tell_version", "--processes", "2", "--pidfile", "pid")
    wait_for_version(daemon, "first", 2)
    write_code(daemon, "version = 'second'")
    daemon.signal(signal.SIGHUP)
    wait_for_version(daemon, "second", 2)
    daemon.wait_for_log("reload: done")
    assert daemon.process.poll() is None  # the same process
    assert (daemon.directory / "pid").read_text() == f"{daemon.process.pid}\n"
    deaths = daemon.journal.events("worker_died")
    assert [death["status"] for death in deaths] == [0, 0]
    births = [e for e in daemon.journal.events("worker_init") if e["worker"] != "canary"][2:]
    assert [e["worker"] for e in births] == [e["worker"] for e in deaths]
    for death, birth in zip(deaths, births, strict=True):
        assert birth["time"] > death["time"]
    assert births[0]["time"] < deaths[1]["time"]  # the other one had waited for it
    daemon.stop()
    assert len(daemon.journal.events("began")) == len(daemon.journal.events("ended"))


def test_the_preflight_is_a_process_of_its_own_and_clears_up(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle")
    daemon.wait_for("unit")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("reload: done")
    (preflight,) = daemon.journal.events("worker_init", worker="canary")
    assert preflight["pid"] != daemon.process.pid
    assert daemon.journal.events("worker_exit", worker_pid=preflight["pid"])
    assert len(daemon.journal.events("setup", pid=daemon.process.pid)) == 2
    daemon.stop()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("version = ", "SyntaxError: invalid syntax"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("version = 'failing'", "LookupError: the hook's own mistake"),
    ],
    ids=["syntax", "import", "worker_init"],
)
def test_a_reload_to_broken_code_changes_nothing_and_says_why(
    start_work: StartDaemon,
    sqlite: SQLiteDatabase,
    pidfile: Path,
    reload: Reload,
    code: str,
    reason: str,
) -> None:
    options = ("--processes", "2", f"--pidfile={pidfile}", "--in-worker_init", "fail_if_told")
    daemon = start_work(sqlite, "tell_version", *options)
    wait_for_version(daemon, "first", 2)
    workers = daemon.workers
    write_code(daemon, code)
    # The action itself has to load the project, which is broken in its own directory only.
    command = reload()
    assert command.process.returncode == 1
    assert "the reload failed, the old workers keep running" in command.err
    assert reason in command.err
    assert daemon.workers == workers
    assert daemon.journal.events("worker_died") == []
    daemon.stop()


def test_a_reload_brings_new_settings(
    start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path, reload: Reload
) -> None:
    daemon = start_work(sqlite, "idle", f"--pidfile={pidfile}")
    daemon.wait_for("unit")
    change_settings(daemon, {"PROCESSES": 3})
    command = reload()
    assert command.process.returncode == 0, command.err
    assert command.out == "work: reloaded\n"
    assert len(daemon.workers) == 3
    change_settings(daemon, {"PROCESSES": 1})
    assert reload().process.returncode == 0
    daemon.wait_for("worker_died", worker="worker-3", status=0)
    assert len(daemon.workers) == 1
    daemon.stop()


def test_scale_survives_a_reload_until_the_configured_number_changes(
    start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path, reload: Reload
) -> None:
    daemon = start_work(sqlite, "idle", f"--pidfile={pidfile}")
    daemon.wait_for("unit")
    daemon.signal(signal.SIGTTIN)
    daemon.wait_for_threads("unit", 2)
    assert reload().process.returncode == 0
    assert len(daemon.workers) == 2
    change_settings(daemon, {"PROCESSES": 3})
    assert reload().process.returncode == 0
    assert len(daemon.workers) == 3
    daemon.stop()


def test_a_reload_to_broken_settings_is_refused_with_their_mistake(
    start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path, reload: Reload
) -> None:
    daemon = start_work(sqlite, "idle", f"--pidfile={pidfile}")
    daemon.wait_for("unit")
    workers = daemon.workers
    change_settings(daemon, {"PROCESSES": 0})
    command = reload()
    assert command.process.returncode == 1
    assert "settings.POOLDAEMON['PROCESSES'] is 0; it must be a whole number" in command.err
    assert daemon.workers == workers
    daemon.stop()


def change_settings(daemon: Daemon, pooldaemon: dict[str, Any]) -> None:
    path = daemon.directory / "settings.json"
    path.write_text(json.dumps({"POOLDAEMON": pooldaemon}))


def test_a_detached_daemon_reloads_again_and_again(
    start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path, reload: Reload
) -> None:
    daemon = start_work(sqlite, "idle", "--detach", "--logfile=log", f"--pidfile={pidfile}")
    assert daemon.process.wait(TIMEOUT) == 0
    pid = int(pidfile.read_text())
    daemon.adopt(pid)
    for _ in range(2):
        (before,) = processes.children(pid)
        assert (command := reload()).process.returncode == 0, command.err + daemon.log
        (after,) = processes.children(pid)
        assert after.pid != before.pid
    assert int(pidfile.read_text()) == pid
    log = str(daemon.directory / "log")
    assert [proc.descriptors(pid)[number] for number in (1, 2)] == [log, log]
    for member in (pid, after.pid):
        opened = list(proc.descriptors(member).values())
        assert opened.count(str(pidfile)) == (member == pid)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not processes.is_alive(pid), TIMEOUT, "the daemon does not end")
    daemon.assert_nothing_left()
    assert list(pidfile.parent.glob("daemon.pid*")) == []


@pytest.mark.parametrize(("code", "result"), [("", "done"), ("version = ", "failed")])
def test_hup_during_a_preflight_is_followed_by_another_reload(
    start_work: StartDaemon, sqlite: SQLiteDatabase, code: str, result: str
) -> None:
    """The preflight may have read the code before it changed."""
    daemon = start_work(sqlite, "tell_version", "--processes", "2")
    wait_for_version(daemon, "first", 2)
    write_code(daemon, code)
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("reload: trying")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("reload: another one follows")
    wait_until(lambda: len(daemon.log_lines("reload: trying")) == 2, TIMEOUT, "the second one")
    wait_until(
        lambda: f"reload: {result}" in daemon.log_lines("reload: ")[-1], TIMEOUT, "its result"
    )
    daemon.stop()


def test_term_during_a_reload_ends_the_daemon_in_order(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "hold", "--processes", "2")
    daemon.wait_for("started", 2)
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("reload: trying")
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("draining")
    daemon.journal.open_gate()
    daemon.assert_clean_end()
    assert len(daemon.journal.events("finished")) == 2


def test_hup_after_the_first_unit_is_not_too_early_for_a_slow_supervisor(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--in-worker_init", "wait_for_gate")
    daemon.wait_for("worker_init")
    freeze(daemon.pid)
    daemon.journal.open_gate()
    daemon.wait_for("unit")
    daemon.signal(signal.SIGHUP)  # it learns of this and of the worker at the same moment
    daemon.signal(signal.SIGCONT)
    daemon.wait_for_log("reload: done")
    daemon.stop()


def test_workers_are_gone_when_the_supervisor_is_killed_after_a_reload(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "hold", "--processes", "2")
    daemon.wait_for("started", 2)
    workers = daemon.workers
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("reload: trying")
    # The first old worker is told to drain, and can't: old workers, new supervisor.
    wait_until(lambda: len(daemon.journal.events("setup")) == 3, TIMEOUT, "the new supervisor")
    assert daemon.workers == workers
    daemon.process.kill()
    daemon.process.wait()
    wait_until(lambda: not any(map(processes.is_alive, workers)), TIMEOUT, "workers outlive it")
    daemon.assert_nothing_left()


def test_a_preflight_that_hangs_ends_although_its_supervisor_was_killed(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    options = ("--in-worker_exit", "wait_for_gate", "--boot-timeout", "3", "--exit-timeout=1")
    daemon = start_work(sqlite, "idle", *options)
    daemon.wait_for("unit")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("reload: trying")
    daemon.process.kill()
    daemon.process.wait()
    notes = daemon.journal
    wait_until(lambda: notes.events("worker_exit", worker="canary"), TIMEOUT, "the preflight's end")
    daemon.assert_nothing_left(TIMEOUT)


def test_hup_from_a_terminal_that_is_gone_drains(
    start_work: StartDaemon, sqlite: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        ours, terminal = pty.openpty()
    except OSError as error:  # in a container without /dev/pts
        pytest.skip(f"no pseudo-terminal to be had: {error}")
    monkeypatch.setattr(Daemon, "stdin", terminal)
    daemon = start_work(sqlite, "idle")
    os.close(terminal)
    daemon.wait_for("unit")
    os.close(ours)
    daemon.signal(signal.SIGHUP)
    daemon.assert_clean_end()


@pytest.mark.mysql
def test_a_reload_needs_one_connection_beyond_the_workers(
    start_work: StartDaemon, mysql: MySQLDatabase
) -> None:
    options = ("--processes", "2", "--threads", "2", "--max-connections", "1")
    daemon = start_work(mysql, "use_connection", *options)
    daemon.wait_for_threads("used", 4)
    daemon.signal(signal.SIGHUP)
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, len(mysql.sessions()))
        return bool(daemon.log_lines("reload: done"))

    wait_until(done, TIMEOUT, "the reload goes on")
    assert 2 <= most <= 3
    daemon.stop()
