"""One daemon per pidfile."""

import os
from pathlib import Path

import pytest

from tests.lifecycle import proc
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.lifecycle.test_worker_deaths import kill_supervisor


@pytest.fixture
def pidfile(tmp_path: Path) -> Path:
    return tmp_path / "daemon.pid"


def test_the_pidfile_holds_the_supervisors_pid_and_is_gone_after_it(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_daemon(sqlite, "idle", "--pidfile", str(pidfile))
    daemon.wait_for("unit")
    assert pidfile.read_text() == f"{daemon.process.pid}\n"
    daemon.stop()
    assert not pidfile.exists()


@pytest.mark.parametrize("detach", [(), ("--detach", "--logfile", "log")])
def test_a_second_daemon_is_refused_with_the_pid_of_the_first(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path, detach: tuple[str, ...]
) -> None:
    first = start_daemon(sqlite, "idle", "--pidfile", str(pidfile))
    first.wait_for("unit")
    second = start_daemon(sqlite, "idle", f"--pidfile={pidfile}", *detach)
    second.assert_clean_end(1)
    (line,) = second.err.splitlines()
    assert line.startswith("CommandError: already running: ")
    assert str(first.process.pid) in line
    assert str(pidfile) in line
    assert second.journal.events("unit") == []
    assert pidfile.read_text() == f"{first.process.pid}\n"
    first.stop()


@pytest.mark.parametrize(
    "content",
    [f"{os.getpid()}\n", "99999999\n", "", "no number"],
    ids=["of a living process", "of none", "empty", "no number"],
)
def test_a_stale_pidfile_does_not_block(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path, content: str
) -> None:
    pidfile.write_text(content)
    daemon = start_daemon(sqlite, "idle", "--pidfile", str(pidfile))
    daemon.wait_for("unit")
    assert pidfile.read_text() == f"{daemon.process.pid}\n"
    daemon.stop()


def test_after_kill_9_of_the_supervisor_a_new_daemon_starts_at_once_on_the_same_pidfile(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    killed = start_daemon(sqlite, "hold", f"--pidfile={pidfile}", "--processes", "2")
    killed.wait_for("started", 2)
    kill_supervisor(killed)
    assert pidfile.exists()
    daemon = start_daemon(sqlite, "idle", "--pidfile", str(pidfile))
    daemon.wait_for("unit")
    daemon.stop()


def test_a_daemon_whose_pidfile_was_removed_leaves_that_of_its_successor_alone(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    first = start_daemon(sqlite, "idle", f"--pidfile={pidfile}")
    first.wait_for("unit")
    pidfile.unlink()
    second = start_daemon(sqlite, "idle", "--pidfile", str(pidfile))
    second.wait_for("unit")
    first.stop()
    assert pidfile.read_text() == f"{second.process.pid}\n"
    second.stop()


def test_workers_do_not_hold_the_lock(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_daemon(sqlite, "hold", "--pidfile", str(pidfile), "--processes", "2")
    daemon.wait_for("started", 2)
    assert str(pidfile) in proc.descriptors(daemon.process.pid).values()
    for worker in daemon.workers:
        assert str(pidfile) not in proc.descriptors(worker).values()
    daemon.journal.open_gate()
    daemon.stop()


def test_the_pidfile_may_be_given_in_the_settings(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_daemon(sqlite, "idle", POOLDAEMON={"PIDFILE": str(pidfile)})
    daemon.wait_for("unit")
    assert pidfile.read_text() == f"{daemon.process.pid}\n"
    daemon.stop()
    assert not pidfile.exists()
