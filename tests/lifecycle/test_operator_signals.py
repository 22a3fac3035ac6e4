"""USR1, USR2, TTIN and TTOU: what an operator sends to a daemon that goes on working."""

import os
import signal
from pathlib import Path
from typing import Any

from pooldaemon.testing import processes
from tests.lifecycle import proc
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT
from tests.lifecycle.databases import SQLiteDatabase
from tests.lifecycle.test_detach import DETACH, detached, stop
from tests.support.poll import wait_until


def file_logging(path: Path) -> dict[str, Any]:
    """The project's own LOGGING, with a handler that does not look for rotation itself."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(path)}},
        "loggers": {"project": {"handlers": ["file"]}},
    }


def test_usr1_opens_the_log_files_anew_in_every_process(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    own, rotated = tmp_path / "project.log", tmp_path / "project.log.1"
    daemon = start_daemon(sqlite, "log", *DETACH, LOGGING=file_logging(own))
    pid = detached(daemon)
    daemon.wait_for("unit")
    own.rename(rotated)
    output = daemon.directory / "log"
    output.rename(daemon.directory / "log.1")
    os.kill(pid, signal.SIGUSR1)
    wait_until(own.exists, TIMEOUT, "the log file of the project anew")
    wait_until(own.read_text, TIMEOUT, "a worker's line in it")
    (worker,) = processes.children(pid)

    def renewed(member: int) -> bool:
        opened = proc.descriptors(member)
        return opened[1] == opened[2] == str(output) and str(rotated) not in opened.values()

    for member in (pid, worker.pid):
        wait_until(lambda member=member: renewed(member), TIMEOUT, "an old file")
    stop(daemon, pid)


def test_usr2_logs_the_stack_of_every_thread_with_its_unit(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_daemon(sqlite, "hold", "--processes", "2", "--threads", "2")
    daemon.wait_for("started", 4)
    daemon.signal(signal.SIGUSR2)
    for worker in (1, 2):
        daemon.wait_for_log(f"worker-{worker}: the stacks of its threads")
        for thread in (1, 2):
            daemon.wait_for_log(f"worker-{worker}/thread-{thread}, in a unit for ")
    daemon.wait_for_log("MainThread, no unit")
    wait_until(lambda: len(daemon.log_lines("in wait_for_gate")) == 4, TIMEOUT, "four stacks")
    daemon.journal.open_gate()
    daemon.stop()


def test_a_signal_for_the_workers_does_not_kill_one_that_boots(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--in-worker_init", "wait_for_gate")
    daemon.wait_for("worker_init")
    daemon.signal(signal.SIGUSR2)
    daemon.wait_for_log("SIGUSR2")
    daemon.journal.open_gate()
    daemon.wait_for("unit")
    assert daemon.journal.events("worker_died") == []
    daemon.stop()


def test_ttin_adds_a_worker_and_ttou_lets_the_last_one_drain(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "hold")
    daemon.wait_for("started")
    daemon.signal(signal.SIGTTIN)
    second = daemon.wait_for("worker_init", worker="worker-2")[0]["pid"]
    daemon.wait_for("started", pid=second)
    daemon.signal(signal.SIGTTOU)
    daemon.wait_for_log("workers: 1 (before: 2)")
    daemon.journal.open_gate()
    (death,) = daemon.wait_for("worker_died", worker_pid=second)
    assert death["status"] == 0
    assert daemon.journal.events("finished", pid=second)
    assert len(daemon.journal.events("worker_init")) == 2
    daemon.stop()


def test_a_worker_that_leaves_is_replaced_at_once_when_it_is_wanted_again(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "hold", "--processes", "2")
    daemon.wait_for("started", 2)
    daemon.signal(signal.SIGTTOU)
    daemon.wait_for_log("workers: 1 (before: 2)")
    daemon.signal(signal.SIGTTIN)
    daemon.wait_for_log("workers: 2 (before: 1)")
    daemon.journal.open_gate()
    (death,) = daemon.wait_for("worker_died", worker="worker-2")
    assert death["status"] == 0
    daemon.wait_for("worker_init", 2, worker="worker-2")
    assert not daemon.log_lines("another one starts")  # its end was no crash: no delay
    daemon.stop()


def test_the_last_worker_is_not_taken_away(start_work: StartDaemon, sqlite: SQLiteDatabase) -> None:
    daemon = start_work(sqlite, "idle")
    daemon.wait_for("unit")
    daemon.signal(signal.SIGTTOU)
    daemon.wait_for_log("workers: 1 (before: 1)")
    daemon.stop()
    assert len(daemon.journal.events("worker_died")) == 1
