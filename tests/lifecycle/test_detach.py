"""A daemon in the background: detached in every respect, and honest to the shell."""

import os
import signal
from pathlib import Path
from typing import Any

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
    assert "at most 1 connections open" in log_of(daemon)


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
