"""Daemons that can't start: bounded tries, one clear line, status 3."""

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pooldaemon.workers.supervisor import BOOT_ATTEMPTS
from tests.conftest import on_mysql
from tests.lifecycle.daemon import Daemon
from tests.lifecycle.databases import MySQLDatabase, SQLiteDatabase
from tests.support.server import Admin

BOOT_FAILED = 3
TIMEOUT = 40.0
QUICK = ("--threads", "1", "--processes", "4")

# case -> what its last line says
REASONS = {
    "worker_init raises": "LookupError: the hook's own mistake",
    "worker_init leaves": "the hook leaves",
    "no directory": "unable to open database file",
    "server down": "Can't connect to",
    "detached": "unable to open database file",
}
REASONS_ON_SERVER = {"wrong password": "Access denied", "no database": "_missing'"}


class Nowhere(SQLiteDatabase):
    """A database that can't be reached, with these settings."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings


def unreachable(directory: Path) -> dict[str, Nowhere]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed_port = listener.getsockname()[1]
    server = {
        "ENGINE": "pooldaemon.backends.mysql",
        "HOST": "127.0.0.1",
        "PORT": str(closed_port),
        "NAME": "x",
        "USER": "x",
        "PASSWORD": "secret-word",
    }
    missing = directory / "missing" / "file.sqlite3"
    return {
        "no directory": Nowhere(ENGINE="pooldaemon.backends.sqlite3", NAME=str(missing)),
        "server down": Nowhere(**server),
    }


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Daemon]]:
    """Every failing daemon, all started together: each takes seconds, which it spends waiting."""
    home = tmp_path_factory.mktemp("failed")
    nowhere = unreachable(home)
    sound = SQLiteDatabase(home / "file.sqlite3")
    detach = ("--detach", "--logfile", "log", "--pidfile", "pid")
    cases: dict[str, tuple[Any, ...]] = {
        "worker_init raises": (sound, "--in-worker_init", "fail"),
        "worker_init leaves": (sound, "--in-worker_init", "leave"),
        "no directory": (nowhere["no directory"],),
        "server down": (nowhere["server down"],),
        "detached": (nowhere["no directory"], *detach),
    }
    with ExitStack() as stack:
        if on_mysql():
            url = os.environ["DATABASE_URL"]
            admin = stack.enter_context(Admin(url))
            real = MySQLDatabase(url, lambda: admin)
            stack.callback(real.remove)
            wrong = {"PASSWORD": "secret-word"}, {"NAME": f"{real.name}_missing"}
            for case, part in zip(REASONS_ON_SERVER, wrong, strict=True):
                cases[case] = (Nowhere(**real.settings | part),)
        yield {
            case: stack.enter_context(
                Daemon(home / case.replace(" ", "-"), database, ["work", "idle", *QUICK, *options])
            )
            for case, (database, *options) in cases.items()
        }


IN_FOREGROUND = [case for case in REASONS if case != "detached"]
ON_SERVER = [pytest.param(case, marks=pytest.mark.mysql) for case in REASONS_ON_SERVER]


@pytest.mark.parametrize("case", [*IN_FOREGROUND, *ON_SERVER])
def test_a_daemon_that_cannot_start_gives_up_after_a_few_tries_with_one_clear_line(
    failed: dict[str, Daemon], case: str
) -> None:
    daemon = failed[case]
    daemon.assert_clean_end(BOOT_FAILED, TIMEOUT)
    # Although four workers are wanted: while none has been ready, one at a time is tried.
    assert len(daemon.journal.events("worker_init")) == BOOT_ATTEMPTS
    (last,) = daemon.log_lines("Giving up")
    assert (REASONS | REASONS_ON_SERVER)[case] in last
    assert "Traceback" not in daemon.err
    assert "secret-word" not in daemon.err
    assert daemon.journal.events("unit") == []


def test_the_tries_of_a_daemon_that_cannot_start_are_further_and_further_apart(
    failed: dict[str, Daemon],
) -> None:
    daemon = failed["worker_init raises"]
    daemon.assert_clean_end(BOOT_FAILED, TIMEOUT)
    times = [event["time"] for event in daemon.journal.events("worker_init")]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps[-1] > gaps[0]
    assert gaps[-1] > 1


def test_a_detached_daemon_that_cannot_start_tells_the_shell_its_status_and_where_to_look(
    failed: dict[str, Daemon],
) -> None:
    daemon = failed["detached"]
    daemon.assert_clean_end(BOOT_FAILED, TIMEOUT)
    (told,) = daemon.err.splitlines()
    assert "see log" in told
    log = (daemon.directory / "log").read_text()
    (last,) = [line for line in log.splitlines() if "Giving up" in line]
    assert REASONS["detached"] in last
    assert "Traceback" not in log
