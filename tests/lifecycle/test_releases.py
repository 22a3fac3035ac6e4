"""Reloads by deployments: what `current` points at by then runs, or the old code and a reason."""

import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.daemon import TIMEOUT
from tests.lifecycle.databases import SQLiteDatabase
from tests.lifecycle.releases import DeployedDaemon, Site, make_interpreter
from tests.lifecycle.test_reload import change_settings
from tests.support.poll import wait_until

pytestmark = pytest.mark.once

Start = Callable[..., DeployedDaemon]

PYTHON = Path(sys.executable)
DJANGO_ADMIN = PYTHON.with_name("django-admin")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "site")
    site.deploy(1)
    return site


@pytest.fixture
def start(tmp_path: Path, sqlite: SQLiteDatabase) -> Iterator[Start]:
    """Run rundaemon with the unit of the release: `start([python, "manage.py"], cwd=…)`."""
    with ExitStack() as daemons:

        def run(program: list[str | Path], *options: str, **more: Any) -> DeployedDaemon:
            quick = ("--threads=1", "--idle-interval=0.05", f"--pidfile={tmp_path / 'pid'}")
            arguments = ["rundaemon", "release.unit", *quick, *options]
            daemon = DeployedDaemon(tmp_path / "daemon", sqlite, program, arguments, **more)
            return daemons.enter_context(daemon)

        yield run


def status(daemon: DeployedDaemon) -> dict[str, Any]:
    state: dict[str, Any] = daemon.status()["reload"]
    return state


def reload(daemon: DeployedDaemon, state: str = "done") -> dict[str, Any]:
    """Send HUP, and wait until the reload has ended like this."""
    number = status(daemon)["number"]
    daemon.signal(signal.SIGHUP)

    def ended() -> bool:
        try:
            outcome = status(daemon)
        except OSError:  # it is being executed
            return False
        return outcome["number"] > number and outcome["state"] in ("done", "failed")

    wait_until(ended, TIMEOUT, "the reload does not end")
    assert status(daemon)["state"] == state, daemon.log
    return status(daemon)


STYLES: dict[str, Callable[[Site], dict[str, Any]]] = {
    "manage.py": lambda site: {"program": [PYTHON, "manage.py"], "cwd": site.current},
    "absolute path": lambda site: {
        "program": [PYTHON, site.current / "manage.py"],
        "cwd": site.directory.parent,
    },
    "relative path": lambda site: {
        "program": [PYTHON, "current/manage.py"],
        "cwd": site.directory,
    },
    "python -m django": lambda site: {"program": [PYTHON, "-m", "django"], "cwd": site.current},
    "django-admin": lambda site: {
        "program": [DJANGO_ADMIN],
        "options": ["--pythonpath=."],
        "cwd": site.current,
    },
    "init process": lambda site: {
        "program": [PYTHON, "-m", "django"],
        "options": ["--pythonpath", str(site.current)],
        "cwd": site.current,
        "by_shell": False,
    },
}


@pytest.mark.parametrize("style", STYLES)
def test_a_reload_runs_the_release_that_the_link_points_at_by_then(
    site: Site, start: Start, style: str
) -> None:
    given = STYLES[style](site)
    daemon = start(given.pop("program"), *given.pop("options", ()), **given)
    daemon.wait_for_release(1)
    site.deploy(2)
    reload(daemon)
    daemon.wait_for_release(2)
    site.deploy(3)
    site.remove(1)
    site.remove(2)  # the one that runs
    reload(daemon)
    daemon.wait_for_release(3)
    daemon.stop()


def test_a_release_brings_its_own_interpreter(tmp_path: Path, start: Start) -> None:
    site = Site(tmp_path / "site", with_interpreter=True)
    site.deploy(1)
    daemon = start(["venv/bin/python", "manage.py"], cwd=site.current)
    daemon.wait_for_release(1)
    site.deploy(2)
    site.remove(1)
    reload(daemon)
    daemon.wait_for_release(2)
    daemon.stop()


def test_a_virtual_environment_that_was_replaced_is_used_and_one_that_is_missing_is_reported(
    tmp_path: Path, site: Site, start: Start
) -> None:
    environment = tmp_path / "venv"
    make_interpreter(environment)
    daemon = start([environment / "bin" / "python", "manage.py"], cwd=site.current)
    daemon.wait_for_release(1)
    workers = daemon.workers
    shutil.rmtree(environment)
    site.deploy(2)
    outcome = reload(daemon, "failed")
    python = environment / "bin" / "python"
    assert (
        outcome["reason"] == f"the preflight can't be started: {python}: No such file or directory"
    )
    assert daemon.workers == workers
    make_interpreter(environment)
    reload(daemon)
    daemon.wait_for_release(2)
    daemon.stop()


def test_a_reload_in_a_directory_that_was_removed_is_refused_and_the_old_workers_stay(
    site: Site, start: Start
) -> None:
    daemon = start([PYTHON, "manage.py"], cwd=site.release(1))
    daemon.wait_for_release(1)
    workers = daemon.workers
    site.remove(1)
    outcome = reload(daemon, "failed")
    assert (
        outcome["reason"]
        == f"the preflight can't be started: {site.release(1)}: No such file or directory"
    )
    assert daemon.workers == workers
    daemon.stop()


def test_a_release_that_ends_without_having_tried_anything_is_refused(
    site: Site, start: Start
) -> None:
    daemon = start([PYTHON, "manage.py"], cwd=site.current)
    daemon.wait_for_release(1)
    workers = daemon.workers
    site.deploy(2, manage="")
    outcome = reload(daemon, "failed")
    assert outcome["reason"] == "the preflight ended without having tried the new code"
    assert daemon.workers == workers
    daemon.stop()


def test_a_reload_has_the_environment_of_the_start(site: Site, start: Start) -> None:
    manage = site.release(1) / "manage.py"
    # As the usual readers of .env do: what is there already stays.
    dotenv = f"""
import os
for line in open({str(site.directory / ".env")!r}):
    os.environ.setdefault(*line.strip().split("="))
os.environ.pop("REMOVED", None)
"""
    manage.write_text(dotenv + manage.read_text())
    release = site.release(1) / "release.py"
    release.write_text(
        release.read_text().replace(
            "release=1", "release=int(os.environ['RELEASE']), seen=os.environ.get('SEEN')"
        )
        + "\nimport os\nSEEN = os.environ.setdefault('SEEN', os.environ['GIVEN'])\n"
    )
    (site.directory / ".env").write_text("RELEASE=1\nGIVEN=from the file\n")
    variables = {"GIVEN": "at the start", "REMOVED": ""}
    daemon = start([PYTHON, "manage.py"], cwd=site.current, variables=variables)
    daemon.wait_for_release(1)
    (site.directory / ".env").write_text("RELEASE=2\nGIVEN=from the file\n")
    reload(daemon)
    daemon.wait_for_release(2)
    assert {event["seen"] for event in daemon.journal.events("unit")} == {"at the start"}
    daemon.stop()


def test_an_operator_may_bring_another_environment(
    site: Site, start: Start, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    release = site.release(1) / "release.py"
    release.write_text(
        "import os\n" + release.read_text().replace("release=1", "release=int(os.environ['GIVEN'])")
    )
    variables = {"GIVEN": "1", "NOTIFY_SOCKET": str(tmp_path / "notify")}
    daemon = start([PYTHON, "manage.py"], cwd=site.current, variables=variables)
    daemon.wait_for_release(1)
    options = ("reload", f"--pidfile={tmp_path / 'pid'}")
    for more, given in (([], 1), (["--update-env"], 2), ([], 2)):
        command = DeployedDaemon(
            tmp_path / f"reload-{given}-{len(more)}",
            sqlite,
            [PYTHON, "manage.py"],
            ["rundaemon", *options, *more],
            cwd=site.current,
            variables={"GIVEN": "2", "LIFECYCLE_DIRECTORY": str(daemon.directory)},
        )
        with command:
            assert command.process.wait(TIMEOUT) == 0, command.err
        daemon.wait_for_release(given)
    kept = Path(f"/proc/{daemon.pid}/environ").read_bytes().split(b"\0")
    assert f"NOTIFY_SOCKET={tmp_path / 'notify'}".encode() in kept
    daemon.stop()


def test_a_log_file_that_the_new_settings_name_is_opened_in_the_preflight(
    site: Site, start: Start
) -> None:
    daemon = start([PYTHON, "manage.py"], cwd=site.current)
    daemon.wait_for_release(1)
    workers = daemon.workers
    change_settings(daemon, {"LOGFILE": "/nowhere/log"})
    outcome = reload(daemon, "failed")
    assert "settings.POOLDAEMON['LOGFILE'] /nowhere/log: No such file" in outcome["reason"]
    assert daemon.workers == workers
    change_settings(daemon, {"LOGFILE": str(daemon.directory / "log")})
    reload(daemon)
    assert "reload: done" in (daemon.directory / "log").read_text()
    daemon.stop()
