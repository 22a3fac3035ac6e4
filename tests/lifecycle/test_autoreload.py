"""--autoreload: what changes in the code is brought to the workers."""

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.lifecycle.test_bad_input import complaint


@pytest.fixture
def daemon(start_work: StartDaemon, sqlite: SQLiteDatabase) -> Daemon:
    options = ("--autoreload", "--in-setup", "import_module", "--pidfile", "pid")
    daemon = start_work(sqlite, "tell_version_of_module", *options)
    daemon.wait_for("began", version="first")
    return daemon


def change(daemon: Daemon, text: str) -> None:
    (daemon.directory / "changing.py").write_text(text)


def test_a_changed_file_brings_new_code_into_the_running_daemon(daemon: Daemon) -> None:
    for version in ("second", "the third"):
        # Python takes a file of the same size, written in the same second, for the one it knows.
        change(daemon, f"version = {version!r}  # changed\n")
        (began, *_) = daemon.wait_for("began", version=version)
        assert began["pid"] not in {e["pid"] for e in daemon.journal.events("began")[:1]}
    deaths = daemon.wait_for("worker_died", 2)
    assert [death["status"] for death in deaths] == [0, 0]
    daemon.stop()


def test_broken_code_changes_nothing_until_it_is_repaired(daemon: Daemon) -> None:
    change(daemon, "version = ")
    daemon.wait_for_log("reload: failed, the old workers stay: SyntaxError: invalid syntax")
    assert not daemon.journal.events("worker_died")
    change(daemon, "version = 'repaired'")
    daemon.wait_for("began", version="repaired")
    daemon.stop()


@pytest.mark.parametrize("words", [("start",), ("restart",), ("run", "--detach")])
def test_it_is_refused_in_the_background(
    start_command: StartDaemon, sqlite: SQLiteDatabase, words: tuple[str, ...]
) -> None:
    action, *options = words
    options += ["--autoreload", "--logfile=log", "--pidfile=pid"]
    line = complaint(start_command(sqlite, "work", action, "idle", *options))
    assert line == "CommandError: --autoreload is for development: it works in the foreground only"
