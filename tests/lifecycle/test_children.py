"""A process that a unit, a hook or a receiver starts is nobody's worker."""

import json
import os
import signal
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from pooldaemon.testing import wait_until
from pooldaemon.testing.daemon import TIMEOUT
from pooldaemon.testing.processes import find, is_alive
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.databases import MySQLDatabase, SQLiteDatabase
from tests.lifecycle.project import children

UNITS = int(os.environ.get("CHILD_UNITS", "2"))
"""How often each way of starting a process is tried."""

IGNORED_BY_PYTHON = {"SIGPIPE", "SIGXFSZ"}
CAUGHT_BY_PYTHON = {"SIGINT", *("SIGSEGV", "SIGFPE", "SIGABRT", "SIGBUS", "SIGILL")}
"""The last ones are faulthandler's."""
SUPERVISOR = ("--in-setup", "start_in_every_way")


def assert_nothing_of_ours(events: list[dict[str, Any]], pidfile: Path) -> None:
    for event in events:
        way = event["way"]
        assert set(event["ignored"]) - IGNORED_BY_PYTHON <= {"SIGINT"}, event
        assert set(event["caught"]) <= CAUGHT_BY_PYTHON | {"SIGCHLD"}, event
        if "forkserver" not in way:
            assert "SIGCHLD" not in event["caught"], event
        assert event["wakeup"] == -1, event
        ours = [name for name in event["files"] if name.startswith(str(pidfile))]
        assert not ours, event
    # From then on there are pipes of multiprocessing's.
    for event in takewhile(lambda event: not event["way"].startswith("by_"), events):
        pipes = [name for name in event["files"] if name.startswith(("pipe:", "socket:"))]
        # subprocess has one, to report errors.
        assert len(pipes) <= (event["way"] == "preexec_fn, before exec"), event


def test_processes_that_units_start_have_nothing_of_the_daemons(
    start_command: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    unit, pidfile = f"{children.ME}.every_way", tmp_path / "pid"
    daemon = start_command(sqlite, "rundaemon", unit, "--threads", "1", "--pidfile", str(pidfile))
    daemon.wait_for("unit", UNITS, timeout=TIMEOUT * UNITS)
    # The unit under way may be in the middle of its processes.
    daemon.stop()
    events = daemon.journal.events("child")
    assert {event["way"] for event in events} >= {*children.WAYS, "preexec_fn, before exec"}
    assert_nothing_of_ours(events, pidfile)
    assert not daemon.log_lines("ERROR")


def test_processes_that_setup_starts_have_nothing_of_the_daemons(
    start_work: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    pidfile = tmp_path / "pid"
    daemon = start_work(sqlite, "idle", *SUPERVISOR, "--pidfile", str(pidfile))
    daemon.wait_for("waiting")
    daemon.stop()
    assert_nothing_of_ours(daemon.journal.events("child"), pidfile)
    assert {event["way"] for event in daemon.journal.events("child")} >= {*children.WAYS}


def test_a_manager_made_in_setup_keeps_neither_workers_nor_the_lock(
    start_work: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    options = ("--in-setup", "make_manager", "--pidfile", str(tmp_path / "pid"))
    daemon = start_work(sqlite, "idle", *options)
    daemon.wait_for("unit")
    (made,) = daemon.journal.events("manager")
    workers = daemon.workers - {made["manager"]}
    daemon.signal(signal.SIGKILL)
    daemon.process.wait()
    wait_until(lambda: not any(map(is_alive, workers)), TIMEOUT, "workers are left")
    assert is_alive(made["manager"]), "or it kept nothing because it is gone"
    os.kill(made["manager"], signal.SIGKILL)
    second = start_work(sqlite, "idle", "--pidfile", str(tmp_path / "pid"))
    second.wait_for("unit")
    second.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_signals_end_what_a_unit_has_started_as_they_would_under_a_shell(
    start_command: StartDaemon, sqlite: SQLiteDatabase, number: signal.Signals
) -> None:
    unit = f"{children.ME}.wait_for_ever"
    daemon = start_command(sqlite, "rundaemon", unit, "--threads", "1", "--processes", "1")
    (started,) = daemon.wait_for("started")
    (worker,) = daemon.workers
    for pid in (started["forked"], started["executed"]):
        os.kill(pid, number)
    (ended,) = daemon.wait_for("ended")
    # Python's own handler of SIGINT raises, and the child ends itself.
    assert ended["forked"] == (13 if number is signal.SIGINT else -number)
    assert ended["executed"] == -number
    assert find(worker) is not None
    daemon.stop()


@pytest.mark.parametrize(
    ("deed", "status", "text"),
    [
        ("come_back", 1, "returned from it, and is ended here"),
        ("leave", 7, None),
        ("fail", 1, "LookupError: the child's own mistake"),
    ],
)
def test_a_child_that_comes_back_from_perform_ends_there(
    start_command: StartDaemon, sqlite: SQLiteDatabase, deed: str, status: int, text: str | None
) -> None:
    options = ("--threads", "1", "--idle-interval", "0.05")
    daemon = start_command(sqlite, "rundaemon", f"{children.ME}.{deed}", *options)
    (ended, *_) = daemon.wait_for("status")
    assert ended["status"] == status
    daemon.stop()
    assert len({event["pid"] for event in daemon.journal.events("unit")}) <= 1
    assert text is None or text in daemon.err
    assert "forked by perform()" in daemon.err or text is None


@pytest.mark.parametrize(
    ("hook", "deed"),
    [
        ("setup", "come_back"),
        ("worker_init", "come_back"),
        ("worker_exit", "come_back"),
        ("worker_died", "come_back"),
        ("setup", "receive_and_come_back"),
    ],
)
def test_a_child_that_comes_back_from_a_hook_or_a_receiver_ends_there(
    start_work: StartDaemon, sqlite: SQLiteDatabase, hook: str, deed: str
) -> None:
    daemon = start_work(sqlite, "idle", "--until-idle", f"--in-{hook}", deed)
    daemon.assert_clean_end()
    (event,) = daemon.journal.events("status")
    assert event["status"] == 1
    name = "a receiver of a signal" if deed.startswith("receive") else f"{hook}()"
    assert daemon.log_lines("ERROR", f"A child process forked by {name} returned")


@pytest.mark.mysql
def test_sessions_of_what_a_unit_has_forked_are_not_the_workers(
    start_command: StartDaemon, mysql: MySQLDatabase, tmp_path: Path
) -> None:
    pidfile = tmp_path / "pid"
    options = ("--threads", "1", "--idle-interval", "0.05", "--pidfile", str(pidfile))
    daemon = start_command(mysql, "rundaemon", f"{children.ME}.ask_in_child", *options)
    daemon.wait_for("unit", 4)
    (worker,) = daemon.workers
    events = daemon.journal.events("asked")
    asked = {event["session"] for event in events if event["pid"] != worker}
    noted = {number for _, number, _ in json.loads(Path(f"{pidfile}.sessions").read_text())}
    assert len(asked) >= 3
    assert noted.isdisjoint(asked)
    assert len(noted) == 1, "the worker's own"
    daemon.stop()


def test_nohup_keeps_the_daemon_and_what_it_starts_from_hanging_up(
    start_command: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    unit = f"{children.ME}.wait_for_ever"
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what is executed inherits it
    try:
        daemon = start_command(sqlite, "rundaemon", unit, "--threads", "1")
    finally:
        signal.signal(signal.SIGHUP, previous)
    (started,) = daemon.wait_for("started")
    os.killpg(daemon.pid, signal.SIGHUP)
    assert daemon.log_lines("SIGHUP is ignored", "nohup")
    os.kill(started["forked"], signal.SIGTERM)
    os.kill(started["executed"], signal.SIGTERM)
    (ended,) = daemon.wait_for("ended")
    assert (ended["forked"], ended["executed"]) == (-signal.SIGTERM, -signal.SIGTERM)
    daemon.stop()
    assert not daemon.log_lines("reload: ")


def test_a_detached_daemon_that_was_started_by_nohup_still_reloads_on_hup(
    start_work: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    files = (f"--pidfile={tmp_path / 'pid'}", f"--logfile={tmp_path / 'log'}")
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        launcher = start_work(sqlite, "idle", "--detach", *files)
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert launcher.process.wait(TIMEOUT) == 0, launcher.err
    pid = int((tmp_path / "pid").read_text())
    launcher.adopt(pid)
    os.kill(pid, signal.SIGHUP)
    launcher.wait_for_log("reload: done")
    os.kill(pid, signal.SIGTERM)
    launcher.assert_nothing_left()


def test_outside_of_daemons_a_fork_is_what_it_was() -> None:
    code = (
        "import os, signal, pooldaemon.workers.worker.worker\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    child = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert child.stdout == "1\n", child.stderr
