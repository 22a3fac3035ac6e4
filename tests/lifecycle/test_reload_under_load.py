"""Reloads while every thread works and wants a connection; the server is asked all the time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import MySQLDatabase
from tests.lifecycle.test_reload import change_settings, wait_for_version, write_code
from tests.support.poll import wait_until

pytestmark = pytest.mark.mysql

TOTAL = 9
SHARE = (TOTAL - 1) // 2  # of each worker: one connection is for helpers
THREADS = 2 * SHARE
OPTIONS = ("--threads", str(THREADS), "--total-connections", str(TOTAL))


@pytest.fixture
def daemon(start_work: StartDaemon, mysql: MySQLDatabase, tmp_path: Path) -> Daemon:
    """Two workers, whose threads find work always and are twice as many as connections."""
    pidfile = f"--pidfile={tmp_path / 'daemon.pid'}"
    settings = {"PROCESSES": 2}
    daemon = start_work(mysql, "query_in_version", *OPTIONS, pidfile, POOLDAEMON=settings)
    daemon.wait_for_threads("ended", 2 * THREADS)
    wait_until(lambda: len(mysql.sessions()) == 2 * SHARE, TIMEOUT, "every connection in use")
    return daemon


@pytest.fixture
def reload(
    start_command: StartDaemon, mysql: MySQLDatabase, tmp_path: Path
) -> Callable[[], Daemon]:
    """Run the action to its end, while the sessions stay within the total."""

    def run() -> Daemon:
        pidfile = f"--pidfile={tmp_path / 'daemon.pid'}"
        command = start_command(mysql, "work", "reload", "idle", pidfile)
        most = 0

        def ended() -> bool:
            nonlocal most
            most = max(most, len(mysql.sessions()))
            return command.process.poll() is not None

        wait_until(ended, 2 * TIMEOUT, "reload does not return")
        assert most <= TOTAL
        return command

    return run


def test_a_reload_under_load_to_new_code_and_settings_cuts_no_unit_off_and_keeps_the_total(
    daemon: Daemon, reload: Callable[[], Daemon]
) -> None:
    write_code(daemon, "version = 'second'")
    change_settings(daemon, {"PROCESSES": 3})
    command = reload()
    assert command.process.returncode == 0, command.err
    workers = daemon.workers
    assert len(workers) == 3
    wait_for_version(daemon, "second", 3)
    daemon.stop()
    last = {event["pid"]: event["version"] for event in daemon.journal.events("began")}
    assert {last[worker] for worker in workers} == {"second"}
    assert_no_unit_was_cut_off(daemon)


@pytest.mark.parametrize("broken", ["code", "settings"])
def test_a_reload_under_load_to_what_is_broken_disturbs_nobody(
    daemon: Daemon, reload: Callable[[], Daemon], broken: str
) -> None:
    workers = daemon.workers
    if broken == "code":
        write_code(daemon, "import no_such_module")
    else:
        change_settings(daemon, {"PROCESSES": 0})
    command = reload()
    assert command.process.returncode == 1
    assert "the reload failed, the old workers keep running" in command.err
    assert daemon.workers == workers
    units = len(daemon.journal.events("ended"))
    daemon.wait_for("ended", units + 2 * THREADS)
    assert daemon.journal.events("worker_died") == []
    daemon.stop()
    assert_no_unit_was_cut_off(daemon)


def assert_no_unit_was_cut_off(daemon: Daemon) -> None:
    began, ended = (
        sorted((e["pid"], e["thread"]) for e in daemon.journal.events(kind))
        for kind in ("began", "ended")
    )
    assert began == ended
    assert {death["status"] for death in daemon.journal.events("worker_died")} == {0}
