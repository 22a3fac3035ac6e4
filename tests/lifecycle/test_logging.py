"""What the log says of its origin, and that rotation loses none of it."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.lifecycle.test_operator_signals import file_logging
from tests.support.poll import wait_until

ROTATIONS = 3


def json_logging(path: Path) -> dict[str, Any]:
    """All of the project's log, and the daemon's, in a file with a line of JSON for each record."""
    formatter = {"()": "tests.lifecycle.project.logs.JSONFormatter"}
    handler = {"class": "logging.FileHandler", "filename": str(path), "formatter": "json"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": formatter},
        "handlers": {"file": handler},
        "root": {"handlers": ["file"], "level": "INFO"},
    }


def test_a_formatter_of_the_project_sees_daemon_worker_and_unit_in_every_record(
    start_work: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    log = tmp_path / "project.log"
    options = ("--processes", "2", "--threads", "2")
    daemon = start_work(sqlite, "log", *options, LOGGING=json_logging(log))
    daemon.wait_for_threads("unit", 4)
    daemon.stop()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["daemon_name"] for line in lines} == {"work"}
    workers = {e["pid"]: e["worker"] for e in daemon.journal.events("worker_init")}
    for line in lines:
        assert line["daemon_worker"] == workers.get(line["process"], "supervisor")
    own = [line for line in lines if line["name"] == "project"]
    units = {(line["daemon_worker"], line["daemon_unit"]) for line in own}
    assert len(units) == len(own) == len(daemon.journal.events("unit"))
    assert {unit.rpartition("/")[0] for _worker, unit in units} == {"thread-1", "thread-2"}
    assert {line["daemon_unit"] for line in lines if line["name"] != "project"} == {"-"}


def test_the_default_format_shows_worker_and_unit(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "exit_process")
    daemon.wait_for("failing")
    daemon.stop()
    pid = daemon.journal.events("failing")[0]["pid"]
    (line,) = daemon.log_lines("a unit of work failed", " worker-1 thread-1/1]")
    assert f"[{pid} worker-1 thread-1/1] pooldaemon.workers: " in line
    assert daemon.log_lines(f"[{daemon.process.pid} supervisor -] pooldaemon.supervisor: ")


def rotate(daemon: Daemon, log: Path, *, reopen: bool) -> None:
    """Do it a few times while the daemon writes."""
    for number in range(1, ROTATIONS + 1):
        wait_until(log.exists, TIMEOUT, "the log file anew")
        wait_until(log.read_text, TIMEOUT, "a line in it")
        log.rename(log.with_name(f"{log.name}.{number}"))
        if reopen:
            os.kill(daemon.process.pid, signal.SIGUSR1)
    wait_until(log.exists, TIMEOUT, "the log file anew")


@pytest.mark.parametrize("handler", ["--logfile", "LOGGING"])
def test_no_line_of_any_worker_is_lost_or_torn_when_the_log_is_rotated(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path, handler: str
) -> None:
    log = tmp_path / "project.log"
    given: dict[str, Any] = {"LOGGING": file_logging(log)} if handler == "LOGGING" else {}
    options = ("--processes", "2", "--threads", "2", "--idle-interval", "0.01")
    options += ("--logfile", str(log)) if handler == "--logfile" else ()
    daemon = start_daemon(sqlite, "log_number", *options, **given)
    rotate(daemon, log, reopen=handler == "LOGGING")
    daemon.stop()
    text = "".join(path.read_text() for path in tmp_path.glob("project.log*"))
    written = re.findall(r"number (\d+) of (\d+) ends here$", text, re.MULTILINE)
    noted = [(str(e["number"]), str(e["pid"])) for e in daemon.journal.events("logged")]
    assert sorted(written) == sorted(noted)
    assert text.count("number") == len(noted)
