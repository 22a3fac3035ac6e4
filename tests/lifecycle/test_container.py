"""The daemon as the first process of a container."""

import os
import signal
import subprocess

import pytest

from pooldaemon.testing import processes
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.support.poll import wait_until

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_unshare() -> bool:
    try:
        return (
            subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode == 0
        )
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_unshare(), reason="may not make a container")
def test_as_the_first_process_it_collects_what_has_lost_its_parent(
    start_work: StartDaemon, sqlite: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Daemon, "prefix", CONTAINER)
    daemon = start_work(sqlite, "leave_orphan")
    daemon.wait_for("unit", 5)
    (first,) = processes.children(daemon.process.pid)

    def zombies() -> list[processes.Process]:
        return [child for child in processes.children(first.pid) if child.state == "Z"]

    daemon.wait_for("unit", 20)
    wait_until(lambda: not zombies(), TIMEOUT, "orphans are not collected")
    assert len(daemon.journal.events("worker_died")) == 0
    os.kill(first.pid, signal.SIGTERM)
    daemon.assert_clean_end()
