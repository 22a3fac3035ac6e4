"""start, stop, restart, status and scale, as an operator's shell sees them."""

import fcntl
import grp
import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pooldaemon.testing import processes
from tests.lifecycle import proc
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.lifecycle.test_worker_deaths import kill_supervisor
from tests.support.freeze import freeze
from tests.support.poll import wait_until

pytestmark = pytest.mark.once

NOT_RUNNING = 7
STATUS_DEAD, STATUS_NOT_RUNNING, STATUS_UNKNOWN = 1, 3, 4

Act = Callable[..., Daemon]


@pytest.fixture
def pidfile(tmp_path: Path) -> Path:
    return tmp_path / "daemon.pid"


@pytest.fixture
def act(start_command: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path, tmp_path: Path) -> Act:
    """Run `act("scale", "3", status=0)` to its end; one that starts a daemon stays its owner."""

    def run(*words: str, status: int = 0, unit: str = "idle", **settings: Any) -> Daemon:
        actions = [word for word in words if not word.startswith("--")]
        options = [word for word in words if word.startswith("--")]
        options += [f"--pidfile={pidfile}", f"--logfile={tmp_path / 'log'}"]
        options += ["--threads=1", "--idle-interval=0.05"]
        # The unit is a word of the test command's own, after the action.
        command = start_command(sqlite, "work", *actions, unit, *options, **settings)
        assert command.process.wait(TIMEOUT) == status, command.out + command.err
        assert "Traceback" not in command.err
        if status == 0 and actions[0] in ("start", "restart"):
            command.adopt(int(pidfile.read_text()))
        return command

    return run


def status_of(act: Act) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(act("status", "--json").out)
    return status


def test_a_daemon_is_started_asked_and_stopped(act: Act, pidfile: Path) -> None:
    daemon = act("start", "--processes=2")
    status = status_of(act)
    assert status["pid"] == int(pidfile.read_text())
    assert (status["command"], status["state"], status["ready"]) == ("work", "running", True)
    assert [worker["name"] for worker in status["workers"]] == ["worker-1", "worker-2"]
    assert {worker["state"] for worker in status["workers"]} == {"ready"}
    assert all(worker["rss"] > 2**20 for worker in status["workers"])
    table = act("status").out
    assert f"work: running, pid {status['pid']}, up " in table
    assert "2 of 2 workers ready" in table
    assert str(status["workers"][1]["pid"]) in table
    assert act("stop").out == "work: stopped\n"
    daemon.assert_nothing_left()
    assert list(pidfile.parent.glob("daemon.pid*")) == []


def test_what_does_not_run_is_reported_with_the_statuses_of_the_standard_base(act: Act) -> None:
    assert act("status", status=STATUS_NOT_RUNNING).out == "work: not running\n"
    assert json.loads(act("status", "--json", status=STATUS_NOT_RUNNING).out) == {
        "command": "work",
        "state": "not running",
    }
    assert act("stop").out == "work: not running\n"
    assert "work is not running" in act("scale", "3", status=NOT_RUNNING).err


def test_the_pidfile_of_a_dead_daemon_is_recognized_and_blocks_nothing(
    act: Act, start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_work(sqlite, "idle", f"--pidfile={pidfile}")
    daemon.wait_for("unit")
    kill_supervisor(daemon)
    assert pidfile.with_name("daemon.pid.sock").exists()
    act("status", status=STATUS_DEAD)
    act("start")
    assert status_of(act)["ready"]
    act("stop")


def test_a_daemon_that_does_not_answer_is_reported_as_such_and_can_be_stopped_all_the_same(
    act: Act, start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_work(sqlite, "idle", f"--pidfile={pidfile}")
    daemon.wait_for("unit")
    pidfile.with_name("daemon.pid.sock").unlink()
    result = act("status", status=STATUS_UNKNOWN)
    assert f"pid {daemon.process.pid} is running, but does not answer: " in result.out
    assert act("stop").out == "work: stopped\n"
    daemon.assert_clean_end()


def test_a_process_that_is_not_the_daemon_is_not_signalled(act: Act, pidfile: Path) -> None:
    with pidfile.open("w") as file, subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            file.write(f"{bystander.pid}\n")
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
            message = act("stop", status=1).err
            assert f"names pid {bystander.pid}, which is not the daemon" in message
            assert bystander.poll() is None
        finally:
            bystander.kill()
    pidfile.unlink()


def test_a_frozen_supervisor_does_not_hang_the_one_who_asks(
    act: Act, start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_work(sqlite, "idle", f"--pidfile={pidfile}")
    daemon.wait_for("unit")
    freeze(daemon.process.pid)
    assert "timed out" in act("status", status=STATUS_UNKNOWN).out
    daemon.signal(signal.SIGCONT)
    daemon.stop()


def test_scale_adds_and_takes_away_workers(
    act: Act, start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_work(sqlite, "idle", f"--pidfile={pidfile}")
    daemon.wait_for("unit")
    assert act("scale", "3").out == "work: workers: 3 (before: 1)\n"
    daemon.wait_for_threads("unit", 3)
    assert len(daemon.workers) == 3
    assert act("scale", "2").out == "work: workers: 2 (before: 3)\n"
    daemon.wait_for("worker_died", worker="worker-3", status=0)
    assert status_of(act)["processes"] == 2
    daemon.stop()


def test_restart_returns_when_new_workers_are_ready_and_no_unit_was_cut_off(
    act: Act, pidfile: Path
) -> None:
    first = act("start", "--processes=2")
    first.wait_for("unit", 2)
    before = status_of(act)
    second = act("restart", "--processes=2")
    after = status_of(act)
    assert after["ready"]
    assert after["pid"] != before["pid"]
    assert {w["pid"] for w in before["workers"]}.isdisjoint(w["pid"] for w in after["workers"])
    assert {e["status"] for e in first.journal.events("worker_died")} == {0}
    first.assert_nothing_left()
    act("stop")
    second.assert_nothing_left()


def test_restart_starts_what_does_not_run(act: Act) -> None:
    daemon = act("restart")
    assert daemon.out == "work: not running\n"
    act("stop")
    daemon.assert_nothing_left()


def test_stop_waits_for_running_units(
    start_command: StartDaemon, start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_work(sqlite, "hold", f"--pidfile={pidfile}")
    daemon.wait_for("started")
    stopper = start_command(sqlite, "work", "stop", "idle", f"--pidfile={pidfile}")
    daemon.wait_for_log("stop: draining")
    assert stopper.process.poll() is None
    daemon.journal.open_gate()
    stopper.assert_clean_end()
    daemon.assert_clean_end()
    assert daemon.journal.events("finished")


def test_status_shows_where_each_option_was_given(
    act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLDAEMON_GRACEFUL_TIMEOUT", "7")
    monkeypatch.setenv("POOLDAEMON_IDLE_INTERVAL", "9")  # the command line goes before it
    monkeypatch.setenv("POOLDAEMON_MAX_CONNECTIONS", "9,default=4")
    act("start", POOLDAEMON={"MAX_UNITS": 10**6, "GRACEFUL_TIMEOUT": 8})
    options = {name: tuple(option.values()) for name, option in status_of(act)["options"].items()}
    assert options["idle_interval"] == (0.05, "--idle-interval")
    assert options["graceful_timeout"] == (7.0, "POOLDAEMON_GRACEFUL_TIMEOUT")
    assert options["max_units"] == (10**6, "settings.POOLDAEMON['MAX_UNITS']")
    assert options["processes"] == (1, "Command.processes")
    limits = {"*": 9, "default": 4}
    assert options["max_connections"] == (limits, "POOLDAEMON_MAX_CONNECTIONS")
    assert "  9,default=4 " in act("status").out
    act("stop")


def test_status_shows_the_progress_of_units_until_their_end(
    act: Act, start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    options = ("--idle-interval", "600", f"--pidfile={pidfile}")
    daemon = start_work(sqlite, "tell_progress", *options)
    daemon.wait_for("started")
    (worker,) = status_of(act)["workers"]
    (progress,) = worker["progress"]
    assert (progress["thread"], progress["total"]) == ("worker-1/thread-1", 120)
    done = progress["done"]
    assert 0 <= done <= 30
    assert re.search(
        rf"worker-1/thread-1 +{done * 100 // 120}%  {done} of 120\n", act("status").out
    )
    daemon.journal.open_gate()
    wait_until(lambda: status_of(act)["workers"][0]["progress"] == [], TIMEOUT, "the unit's end")
    daemon.stop()


def test_a_pidfile_in_the_settings_may_hold_the_commands_name(
    start_work: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    settings = {"PIDFILE": str(tmp_path / "{command}.pid")}
    daemon = start_work(sqlite, "idle", POOLDAEMON=settings)
    daemon.wait_for("unit")
    assert (tmp_path / "work.pid").exists()
    daemon.stop()


def test_only_the_owner_may_ask(
    start_work: StartDaemon, sqlite: SQLiteDatabase, pidfile: Path
) -> None:
    daemon = start_work(sqlite, "idle", f"--pidfile={pidfile}")
    daemon.wait_for("unit")
    mode = pidfile.with_name("daemon.pid.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    for worker in daemon.workers:
        opened = proc.descriptors(worker).values()
        # The log's, of which there is none, and nothing else: a worker holds no socket.
        assert not [target for target in opened if target.startswith("socket:")]
    daemon.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change user or group")
def test_a_daemon_started_by_root_becomes_what_it_is_told(
    act: Act, tmp_path: Path, pidfile: Path
) -> None:
    # Another user could not read the tests' directories, nor perhaps this Python.
    group = grp.getgrall()[-1]
    surroundings = (f"--group={group.gr_name}", "--umask=027", f"--directory={tmp_path}")
    daemon = act("start", "--user=root", *surroundings)
    pid = int(pidfile.read_text())
    (worker,) = processes.children(pid)
    for member in (pid, worker.pid):
        assert proc.group(member) == group.gr_gid
        assert proc.umask(member) == 0o027
        assert Path(f"/proc/{member}/cwd").readlink() == tmp_path
    for name in ("log", "daemon.pid.sock"):
        assert (tmp_path / name).stat().st_gid == group.gr_gid
    assert status_of(act)["ready"]
    act("stop")
    daemon.assert_nothing_left()
