"""Reloads that fail after a good preflight, that meet each other, and that meet signals."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pooldaemon.workers.worker.worker import ORPHAN_GRACE
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.lifecycle.test_reload import wait_for_version, write_code
from tests.support.poll import wait_until

NO_LICENCE = """
version = 'second'
def hook(process):
    if process.startswith('worker'):
        raise RuntimeError('no licence')
"""

DIES_AT_WORK = """
import os, threading
version = 'second'
def hook(process):
    if process.startswith('worker'):
        threading.Timer(0.3, os._exit, [70]).start()
"""

SETUP_FAILS = """
import os
version = 'second'
def hook(process):
    if process == 'supervisor':
        raise RuntimeError('no licence')
"""


@pytest.fixture
def pidfile(tmp_path: Path) -> Path:
    return tmp_path / "pid"


def reload_of(daemon: Daemon) -> dict[str, Any]:
    """The daemon's report of it; its state is ``None`` while a new version is executed."""
    try:
        reload: dict[str, Any] = daemon.status()["reload"]
    except OSError:
        return {"state": None}
    return reload


def wait_for_reload(daemon: Daemon, state: str) -> dict[str, Any]:
    wait_until(lambda: reload_of(daemon)["state"] == state, TIMEOUT, f"the reload is {state}")
    return reload_of(daemon)


def old_workers(daemon: Daemon) -> set[int]:
    return {event["pid"] for event in daemon.journal.events("ended", version="first")}


@pytest.mark.parametrize(
    ("code", "reason"),
    [(NO_LICENCE, "could not start: RuntimeError: no licence"), (DIES_AT_WORK, "exited with")],
    ids=["boot", "work"],
)
def test_new_workers_that_fail_after_the_preflight_end_the_reload_and_the_old_ones_stay(
    start_work: StartDaemon,
    start_command: StartDaemon,
    sqlite: SQLiteDatabase,
    pidfile: Path,
    code: str,
    reason: str,
) -> None:
    options = ("--processes=2", f"--pidfile={pidfile}", "--in-worker_init=run_code")
    daemon = start_work(sqlite, "tell_version", *options, "--crash-limit=3")
    wait_for_version(daemon, "first", 2)
    write_code(daemon, code)
    command = start_command(sqlite, "work", "reload", "idle", f"--pidfile={pidfile}")
    assert command.process.wait(2 * TIMEOUT) == 1
    assert "the reload failed, the old workers keep running: worker-1" in command.err
    assert reason in command.err
    asked = start_command(sqlite, "work", "status", "idle", f"--pidfile={pidfile}")
    asked.process.wait(TIMEOUT)
    assert "reload failed: worker-1" in asked.out
    # The other one is left alone, and its units go on.
    ended = len(daemon.journal.events("ended", version="first"))
    daemon.wait_for("ended", ended + 5, version="first")
    # Repaired, it is brought to all.
    write_code(daemon, "version = 'third'")
    daemon.signal(signal.SIGHUP)
    wait_for_version(daemon, "third", 2)
    wait_for_reload(daemon, "done")
    daemon.stop()


def test_a_setup_that_fails_after_the_hand_over_leaves_the_old_workers_and_is_tried_again(
    start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    options = ("--processes=2", f"--pidfile={pidfile}", "--in-setup=run_code")
    daemon = start_work(sqlite, "tell_version", *options)
    wait_for_version(daemon, "first", 2)
    workers = daemon.workers
    write_code(daemon, SETUP_FAILS)
    # The preflight sets up, too, and may do so.
    daemon.signal(signal.SIGHUP)
    outcome = wait_for_reload(daemon, "failed")
    assert outcome["reason"] == "setup() failed: RuntimeError: no licence"
    assert daemon.workers == workers
    ended = len(daemon.journal.events("ended", version="first"))
    daemon.wait_for("ended", ended + 5, version="first")
    write_code(daemon, "version = 'third'")
    daemon.signal(signal.SIGHUP)
    wait_for_version(daemon, "third", 2)
    wait_for_reload(daemon, "done")
    daemon.stop()


def test_the_next_reload_does_not_wait_for_the_units_of_old_workers(
    start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_work(sqlite, "hold", "--processes=2", f"--pidfile={pidfile}")
    daemon.wait_for("started", 2)
    for number in (1, 2):
        daemon.signal(signal.SIGHUP)
        wait_until(
            lambda number=number: (
                reload_of(daemon) == {"number": number, "state": "rolling", "reason": None}
            ),
            TIMEOUT,
            f"reload {number} is rolling",
        )
    daemon.journal.open_gate()
    wait_for_reload(daemon, "done")
    assert len(daemon.journal.events("finished")) >= 2
    daemon.stop()


def test_a_preflight_that_fails_meanwhile_does_not_keep_old_workers(
    start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_work(sqlite, "hold", f"--pidfile={pidfile}")
    (started,) = daemon.wait_for("started")
    daemon.signal(signal.SIGHUP)
    wait_for_reload(daemon, "rolling")
    write_code(daemon, "import no_such_module")
    daemon.signal(signal.SIGHUP)
    outcome = wait_for_reload(daemon, "failed")
    assert (outcome["number"], "no_such_module" in outcome["reason"]) == (2, True)
    (daemon.directory / "code.py").unlink()
    daemon.journal.open_gate()
    daemon.wait_for("worker_died", worker_pid=started["pid"], status=0)
    daemon.wait_for_log("reload: done, all workers are new")
    assert reload_of(daemon)["state"] == "failed", "the last one has"
    daemon.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_during_the_hand_over_is_heeded_after_it(
    start_work: StartDaemon, sqlite: SQLiteDatabase, number: signal.Signals
) -> None:
    daemon = start_work(sqlite, "idle", faults={"hand_over": "hang"})
    daemon.wait_for("unit")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_fault("hand_over")
    daemon.signal(number)
    daemon.release("hand_over")
    daemon.assert_clean_end()
    assert len(daemon.journal.events("setup", pid=daemon.pid)) == 2  # it was handed over


def test_a_signal_while_receivers_of_the_reload_run_is_heeded_after_the_hand_over(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--in-setup=run_code")
    daemon.wait_for("unit")
    hook = """
from pooldaemon.signals import daemon_reloading
from tests.lifecycle.project.journal import journal

def wait(**kwargs):
    journal().note("waits")
    journal().wait_for_gate()

def hook(process):
    daemon_reloading.connect(wait, weak=False)
"""
    write_code(daemon, hook)
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("reload: done")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("waits")
    daemon.signal(signal.SIGTERM)
    daemon.journal.open_gate()
    daemon.assert_clean_end()


def test_a_hand_over_that_is_not_possible_leaves_signals_to_the_old_supervisor(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", faults={"hand_over": "raise"})
    daemon.wait_for("unit")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("reload: failed, the old workers stay")
    units = len(daemon.journal.events("unit"))
    daemon.wait_for("unit", units + 2)
    daemon.stop()


def test_status_shows_a_failed_reload_to_people_and_to_programs(
    start_work: StartDaemon,
    start_command: StartDaemon,
    sqlite: SQLiteDatabase,
    pidfile: Path,
) -> None:
    daemon = start_work(sqlite, "idle", f"--pidfile={pidfile}")
    daemon.wait_for("unit")
    write_code(daemon, "import no_such_module")
    daemon.signal(signal.SIGHUP)
    wait_for_reload(daemon, "failed")
    (daemon.directory / "code.py").unlink()

    def ask(*options: str) -> str:
        asked = start_command(sqlite, "work", "status", "idle", f"--pidfile={pidfile}", *options)
        assert asked.process.wait(TIMEOUT) == 0
        return asked.out

    reason = "ModuleNotFoundError: No module named 'no_such_module'"
    assert f"reload failed: {reason}\n" in ask()
    assert json.loads(ask("--json"))["reload"] == {"number": 1, "state": "failed", "reason": reason}
    daemon.stop()


def fails_to_take_over(times: int) -> str:
    """Code that passes its preflight, and then can't be imported in the supervisor's place."""
    return f"""
import os
from pathlib import Path
version = 'second'
attempts = Path(os.environ['LIFECYCLE_DIRECTORY'], 'attempts')
if 'POOLDAEMON_HANDOVER' in os.environ:
    with attempts.open('a') as file:
        file.write('x')
    if attempts.stat().st_size <= {times}:
        raise MemoryError('just now')
"""


def test_new_code_that_can_not_take_over_just_now_is_executed_again(
    start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_work(sqlite, "tell_version", "--processes=2", f"--pidfile={pidfile}")
    wait_for_version(daemon, "first", 2)
    workers = daemon.workers
    write_code(daemon, fails_to_take_over(2))
    daemon.signal(signal.SIGHUP)
    wait_for_version(daemon, "second", 2)
    wait_for_reload(daemon, "done")
    assert daemon.err.count("MemoryError: just now") == 2
    assert daemon.err.count("it is executed again in") == 2
    deaths = daemon.journal.events("worker_died")
    assert {(death["worker_pid"], death["status"]) for death in deaths} == {(w, 0) for w in workers}
    # What it is executed with next is as it was.
    (daemon.directory / "attempts").unlink()
    write_code(daemon, "import os\nversion = str('POOLDAEMON_ATTEMPTS' in os.environ)")
    daemon.signal(signal.SIGHUP)
    wait_for_version(daemon, "False", 2)
    wait_for_reload(daemon, "done")
    daemon.stop()


def test_a_daemon_whose_new_code_can_never_take_over_ends_when_its_units_have(
    start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_work(sqlite, "hold", "--processes=2", f"--pidfile={pidfile}")
    daemon.wait_for("started", 2)
    write_code(daemon, fails_to_take_over(100))
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: "the workers drain" in daemon.err, TIMEOUT, "it drains")
    # Longer than an orphan would be left.
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 1.5 * ORPHAN_GRACE, TIMEOUT, "")
    assert len(daemon.workers) == 2
    daemon.journal.open_gate()
    daemon.assert_clean_end(3)
    assert len(daemon.journal.events("finished")) == 2
    assert daemon.err.count("it is executed again in") == 3
