"""The Django signals of a daemon: where each is sent, and what becomes of a receiver that fails."""

import os
import signal
from typing import Any

import pytest

from tests.lifecycle import proc
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import Database, SQLiteDatabase
from tests.lifecycle.project.receivers import NAMES
from tests.support.poll import wait_until

WORK = "tests.lifecycle.project.management.commands.work"


def sent(daemon: Daemon, pid: int) -> list[tuple[str, str | None]]:
    """The signals that a process has sent, in order."""
    events: list[dict[str, Any]] = [
        event for name in NAMES for event in daemon.journal.events(name, signal=True, pid=pid)
    ]
    assert {event["sender"] for event in events} <= {WORK}
    return [(e["kind"], e["worker"]) for e in sorted(events, key=lambda event: event["time"])]


def test_each_signal_is_sent_in_the_process_that_it_belongs_to(
    start_work: StartDaemon, database: Database
) -> None:
    daemon = start_work(database, "idle", "--in-setup", "connect_receivers")
    (first,) = daemon.wait_for("worker_ready")
    daemon.wait_for("daemon_ready")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("daemon_ready", 2)
    second = daemon.wait_for("worker_ready", 2)[1]
    daemon.wait_for("unit", pid=second["pid"])
    daemon.stop()
    assert sent(daemon, daemon.process.pid) == [
        ("daemon_ready", None),
        ("daemon_reloading", None),
        ("worker_died", "worker-1"),
        ("daemon_ready", None),
        ("daemon_stopping", None),
        ("worker_died", "worker-1"),
    ]
    for worker in (first, second):
        pid = worker["pid"]
        assert sent(daemon, pid) == [("worker_ready", "worker-1"), ("worker_exiting", "worker-1")]
        units = daemon.journal.events("unit", pid=pid)
        (init,) = daemon.journal.events("worker_init", pid=pid)
        (left,) = daemon.journal.events("worker_exit", pid=pid)
        (exiting,) = daemon.journal.events("worker_exiting", pid=pid)
        times = [event["time"] for event in (init, worker, *units, exiting, left)]
        assert times == sorted(times)
    # The preflight is no worker.
    assert len(daemon.journal.events("worker_ready")) == 2


def test_the_death_of_a_worker_that_was_killed_is_sent_by_the_supervisor_alone(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--in-setup", "connect_receivers")
    (worker,) = daemon.wait_for("worker_ready")
    os.kill(worker["pid"], signal.SIGKILL)
    (death,) = daemon.wait_for("worker_died", signal=True)
    assert death["pid"] == daemon.process.pid
    daemon.wait_for("worker_ready", 2)
    daemon.stop()
    assert sent(daemon, worker["pid"]) == [("worker_ready", "worker-1")]


def test_a_supervisor_keeps_no_session_that_a_receiver_has_opened(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--in-setup", "connect_receivers")
    daemon.wait_for("daemon_ready")

    def kept() -> list[str]:
        opened = proc.descriptors(daemon.process.pid).values()
        return [path for path in opened if "sqlite3" in path]

    wait_until(lambda: not kept(), TIMEOUT, "the supervisor keeps a session")
    daemon.stop()


@pytest.mark.parametrize(
    ("receivers", "error"),
    [
        ("connect_failing_receivers", "LookupError: the receiver's own mistake"),
        ("connect_leaving_receivers", "SystemExit: the receiver leaves"),
    ],
)
def test_a_receiver_that_fails_is_logged_and_stops_nothing(
    start_work: StartDaemon, sqlite: SQLiteDatabase, receivers: str, error: str
) -> None:
    daemon = start_work(sqlite, "idle", "--until-idle", "--in-setup", receivers)
    daemon.assert_clean_end()
    # In worker and supervisor: ready, exiting; ready, stopping, died.
    assert daemon.err.count(error) >= 5
    assert len(daemon.log_lines("A receiver of a Django signal failed")) == 5
