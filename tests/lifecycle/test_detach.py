"""A daemon in the background: detached in every respect, and honest to the shell."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pooldaemon.testing import processes
from tests.lifecycle import proc
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import Database, SQLiteDatabase
from tests.support.poll import wait_until

DETACH = ("--detach", "--logfile", "log", "--pidfile", "pid")


def log_of(daemon: Daemon) -> str:
    return (daemon.directory / "log").read_text()


def detached(daemon: Daemon) -> int:
    """The pid of the daemon, once its launcher has ended well."""
    assert daemon.process.wait(TIMEOUT) == 0, f"{daemon.err}\n{log_of(daemon)}"
    pid = int((daemon.directory / "pid").read_text())
    daemon.adopt(pid)
    return pid


def stop(daemon: Daemon, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    await_end(daemon, pid)


def await_end(daemon: Daemon, pid: int) -> None:
    wait_until(lambda: not processes.is_alive(pid), TIMEOUT, "the daemon does not end")
    daemon.assert_nothing_left()
    assert not (daemon.directory / "pid").exists()


def test_the_launcher_returns_when_the_workers_are_ready(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(
        sqlite, "idle", *DETACH, "--processes", "2", "--in-worker_init", "wait_for_gate"
    )
    daemon.wait_for("worker_init")
    assert daemon.process.poll() is None
    daemon.journal.open_gate()
    pid = detached(daemon)
    assert len(daemon.journal.events("worker_init")) == 2
    assert daemon.out + daemon.err == ""
    stop(daemon, pid)


def test_a_detached_daemon_drains_on_term_and_accounts_for_its_workers_in_the_log(
    start_daemon: StartDaemon, database: Database
) -> None:
    daemon = start_daemon(database, "hold", *DETACH)
    pid = detached(daemon)
    daemon.wait_for("started")
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: "draining" in log_of(daemon), TIMEOUT, "the drain in the log")
    daemon.journal.open_gate()
    await_end(daemon, pid)
    assert len(daemon.journal.events("finished")) == 1
    assert "peak of 1 connection" in log_of(daemon)


def test_a_detached_daemon_has_cut_its_ties_to_the_shell(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_daemon(sqlite, "idle", *DETACH)
    pid = detached(daemon)
    process = processes.find(pid)
    assert process is not None
    assert process.parent not in (os.getpid(), daemon.process.pid)
    assert process.session != daemon.process.pid
    assert process.session != pid  # not its leader: it can't get a terminal again
    assert process.terminal == 0
    assert Path(f"/proc/{pid}/cwd").readlink() == daemon.directory
    assert proc.umask(pid) == 0o022
    stop(daemon, pid)


def test_a_detached_daemon_and_its_workers_keep_only_descriptors_of_their_own(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_daemon(sqlite, "idle", *DETACH)
    pid = detached(daemon)
    daemon.wait_for("unit")
    log = str(daemon.directory / "log")
    (worker,) = processes.children(pid)
    for member in (pid, worker.pid):
        opened = proc.descriptors(member)
        assert [opened[number] for number in range(3)] == ["/dev/null", log, log]
        shells = {str(daemon.directory / name) for name in ("out", "err")}
        assert not shells & set(opened.values())
    stop(daemon, pid)


def test_a_detached_daemon_still_writes_to_the_log_files_of_the_projects_own_logging(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    own = tmp_path / "project.log"
    logging: dict[str, Any] = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(own)}},
        "loggers": {"project": {"handlers": ["file"]}},
    }
    daemon = start_daemon(sqlite, "log", *DETACH, LOGGING=logging)
    pid = detached(daemon)
    daemon.wait_for("unit", 2)
    stop(daemon, pid)
    assert own.read_text().splitlines()[:2] == ["a line of the project's own"] * 2
    assert "Logging error" not in log_of(daemon)


def test_a_detached_daemon_whose_setup_raises_says_so_in_the_log_and_returns_1(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", *DETACH, "--in-setup", "fail")
    daemon.assert_clean_end(1)
    assert "see log" in daemon.err
    assert "LookupError: the hook's own mistake" in log_of(daemon)


# -- a start that is cut short ----------------------------------------------------------

INTERRUPTIONS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


def status_of(daemon: Daemon, start_command: StartDaemon, *options: str) -> int:
    """What the action `status` ends with."""
    pidfile = str(daemon.directory / "pid")
    asked = start_command(daemon.database, "work", "status", "idle", "--pidfile", pidfile, *options)
    status: int = asked.process.wait(TIMEOUT)
    return status


@pytest.mark.parametrize("number", INTERRUPTIONS, ids=lambda number: number.name)
def test_a_start_that_is_interrupted_leaves_no_daemon(
    start_work: StartDaemon, sqlite: SQLiteDatabase, number: signal.Signals
) -> None:
    # It would inherit that a signal is ignored, as shells ignore SIGQUIT for background jobs.
    previous = signal.signal(number, signal.SIG_DFL)
    daemon = start_work(sqlite, "idle", *DETACH, "--in-worker_init", "wait_for_gate")
    signal.signal(number, previous)
    daemon.wait_for("worker_init")
    daemon.signal(number)
    wait_until(lambda: "draining" in log_of(daemon), TIMEOUT, "the daemon is told to stop")
    daemon.journal.open_gate()
    daemon.assert_clean_end(128 + number)
    assert f"has not started: {number.name} was received before it was ready; see log" in daemon.err


@pytest.mark.parametrize("moment", range(6))
def test_ctrl_c_at_whatever_moment_of_a_start_leaves_a_daemon_that_is_found_or_none(
    start_work: StartDaemon, sqlite: SQLiteDatabase, start_command: StartDaemon, moment: int
) -> None:
    daemon = start_work(sqlite, "idle", *DETACH)
    pidfile, deadline = daemon.directory / "pid", time.monotonic() + TIMEOUT
    # From the claim of the pidfile on, a little later each time.
    wait_until(
        lambda: pidfile.exists() or daemon.process.poll() is not None, TIMEOUT, "the pidfile"
    )
    wait_until(lambda: time.monotonic() > deadline - TIMEOUT + 0.04 * moment, 5, "the moment")
    os.killpg(daemon.process.pid, signal.SIGINT)  # as a terminal does
    daemon.process.wait(TIMEOUT)
    if not daemon.members():
        assert not [*daemon.directory.glob("pid*")]
        assert daemon.process.returncode not in (0, None)
    else:
        assert daemon.process.returncode == 0
        assert status_of(daemon, start_command) == 0
        stop(daemon, int(pidfile.read_text()))


def test_a_launcher_that_is_killed_leaves_a_daemon_that_is_found_and_that_is_the_only_one(
    start_work: StartDaemon, sqlite: SQLiteDatabase, start_command: StartDaemon
) -> None:
    daemon = start_work(sqlite, "idle", *DETACH, "--in-worker_init", "wait_for_gate")
    daemon.wait_for("worker_init")
    daemon.process.kill()
    daemon.process.wait()
    assert status_of(daemon, start_command) == 0
    second = start_command(
        sqlite, "work", "start", "idle", "--logfile=log", f"--pidfile={daemon.directory / 'pid'}"
    )
    assert second.process.wait(TIMEOUT) == 1
    assert "already running" in second.err
    daemon.journal.open_gate()
    wait_until(lambda: daemon.journal.events("unit"), TIMEOUT, "it works")
    stop(daemon, int((daemon.directory / "pid").read_text()))


def test_of_two_starts_at_once_one_succeeds_and_there_is_one_daemon(
    start_work: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    pidfile = tmp_path / "pid"
    options = ("--detach", "--logfile", "log", "--pidfile", str(pidfile))
    starts = [start_work(sqlite, "idle", *options) for _ in range(2)]
    statuses = sorted(start.process.wait(TIMEOUT) for start in starts)
    assert statuses == [0, 1]
    (winner,) = [start for start in starts if start.process.returncode == 0]
    (loser,) = [start for start in starts if start.process.returncode == 1]
    assert "already running" in loser.err
    assert loser.members() == []
    pid = int(pidfile.read_text())
    winner.adopt(pid)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not processes.is_alive(pid), TIMEOUT, "the daemon does not end")
    winner.assert_nothing_left()
    assert [*tmp_path.glob("pid*")] == []


def test_a_start_that_term_ends_before_it_was_ready_is_no_success(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", *DETACH, "--in-worker_init", "wait_for_gate")
    daemon.wait_for("worker_init")
    os.kill(int((daemon.directory / "pid").read_text()), signal.SIGTERM)
    wait_until(lambda: "draining" in log_of(daemon), TIMEOUT, "the daemon is told to stop")
    daemon.journal.open_gate()
    daemon.assert_clean_end(1)
