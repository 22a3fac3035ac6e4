"""One daemon per pidfile."""

import fcntl
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lifecycle import proc
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT
from tests.lifecycle.databases import SQLiteDatabase
from tests.lifecycle.test_worker_deaths import kill_supervisor
from tests.support.poll import wait_until

pytestmark = pytest.mark.once


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


def test_the_pidfile_is_for_its_owner_alone(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    pidfile.touch(0o644)  # as it was left by an older version
    daemon = start_daemon(sqlite, "idle", "--pidfile", str(pidfile))
    daemon.wait_for("unit")
    assert stat.S_IMODE(pidfile.stat().st_mode) == 0o600
    daemon.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_who_locks_the_pidfile_of_another_user_is_named(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    pidfile.touch(0o644)
    with pidfile.open() as file:
        locker = os.fork()
        if locker == 0:
            os.setuid(65534)
            fcntl.flock(file, fcntl.LOCK_SH)
            signal.pause()
        try:
            wait_until(lambda: str(locker) in Path("/proc/locks").read_text(), TIMEOUT, "the lock")
            daemon = start_daemon(sqlite, "idle", "--pidfile", str(pidfile))
            assert daemon.process.wait(TIMEOUT) == 1
        finally:
            os.kill(locker, signal.SIGKILL)
            os.waitpid(locker, 0)
    assert f"it is locked by process {locker} of another user (uid 65534)" in daemon.err


@pytest.mark.parametrize(
    ("make", "kind"),
    [(os.mkfifo, "a FIFO"), (Path.mkdir, "a directory")],
    ids=["fifo", "directory"],
)
def test_what_is_no_file_in_its_place_is_named(
    start_daemon: StartDaemon,
    sqlite: SQLiteDatabase,
    pidfile: Path,
    make: Callable[[Path], None],
    kind: str,
) -> None:
    make(pidfile)
    daemon = start_daemon(sqlite, "idle", "--pidfile", str(pidfile))
    daemon.assert_clean_end(1)
    assert f"--pidfile {pidfile}: it is {kind}" in daemon.err
