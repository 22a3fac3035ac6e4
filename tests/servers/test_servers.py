"""Servers that fork, under load: no session is used by two processes, and no row is lost.

The parent used the database before it forked, and goes on using it. STRESS_SECONDS=60 makes the
load last longer.
"""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.throwaway_mariadb import free_port
from tests.docs.blocks import example
from tests.servers.conftest import SECONDS, Ground
from tests.servers.server import BIN, Clients, running, stop, wait_for_answer
from tests.support.poll import wait_until

pytestmark = [pytest.mark.mysql, pytest.mark.timeout(0)]

APPLICATION = "tests.servers.project.wsgi:application"
PATIENCE = 60.0
TASKS_PER_SECOND = 60  # about what the broker manages


def needs(package: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(package) or (BIN / package).exists()
    return pytest.mark.skipif(not there, reason=f"{package} is not installed")


def serve_for_a_while(
    command: list[str], url: str, ground: Ground, directory: Path, **environment: str
) -> None:
    log = directory / "log"
    with running(command, ground.environment | environment, log) as process:
        wait_for_answer(url, process, log)
        with Clients(url) as clients:
            time.sleep(SECONDS)
        stop(process, log)
    assert clients.errors == [], log.read_text()
    assert sum(clients.answers.values()) > SECONDS
    assert ground.rows() >= 2 * sum(clients.answers.values())
    # The parent, and those of its children that answered.
    ground.assert_no_session_was_shared(1 + len(clients.answers))


@needs("gunicorn")
@pytest.mark.parametrize("documented", [False, True], ids=["preload", "documented"])
def test_gunicorn_with_preload_and_threads(
    ground: Ground, tmp_path: Path, documented: bool
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", APPLICATION]
    if documented:
        config = tmp_path / "gunicorn.conf.py"
        config.write_text(example("howto/gunicorn.rst", config.name), encoding="utf-8")
        command += ["--config", str(config)]
    else:
        command += ["--preload"]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "4"]
    command += ["--max-requests", "100"]
    # A worker that is told to end while it boots does not notice.
    command += ["--graceful-timeout", "5"]
    serve_for_a_while(command, f"http://127.0.0.1:{port}/", ground, tmp_path)


@needs("uwsgi")
@pytest.mark.parametrize("hooks", [[], ["--py-call-uwsgi-fork-hooks"]], ids=["no hooks", "hooks"])
def test_uwsgi_with_workers_forked_from_c(ground: Ground, tmp_path: Path, hooks: list[str]) -> None:
    port = free_port()
    command = [str(BIN / "uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--module", APPLICATION]
    command += ["--master", "--processes", "2", "--threads", "4", "--enable-threads", "--need-app"]
    command += ["--die-on-term", "--max-requests", "100", "--home", sys.prefix, *hooks]
    # Without the hooks, a worker that is forked while a thread of the master runs Python may hang:
    # the interpreter's own lock is not renewed.
    threads = {} if hooks else {"SERVERS_NO_THREADS": "1"}
    serve_for_a_while(command, f"http://127.0.0.1:{port}/", ground, tmp_path, **threads)


def run_celery(ground: Ground, directory: Path, *options: str, **environment: str) -> None:
    """Have a worker with these options do its tasks."""
    for name in ("queue", "control"):
        (directory / name).mkdir()
    common = ground.environment | {"SERVERS_BROKER": str(directory)}
    celery = [sys.executable, "-m", "celery", "-A", "tests.servers.project.tasks"]
    worker = [*celery, "worker", "--loglevel", "WARNING", *options]
    worker += ["--without-gossip", "--without-mingle"]
    log = directory / "log"
    tasks = int(SECONDS * TASKS_PER_SECOND)
    with running(worker, common | environment, log) as process:
        send = [sys.executable, "-m", "tests.servers.project.send", str(tasks)]
        subprocess.run(send, env=common, check=True)
        wait_until(
            lambda: process.poll() is not None or ground.rows() >= 2 * tasks,
            PATIENCE + SECONDS,
            "tasks are left",
        )
        stop(process, log)
    assert ground.rows() == 2 * tasks, log.read_text()


@needs("celery")
def test_celery_with_prefork(ground: Ground, tmp_path: Path) -> None:
    options = ["--pool", "prefork", "--concurrency", "3", "--max-tasks-per-child", "20"]
    run_celery(ground, tmp_path, *options, SERVERS_PARENT="1")
    ground.assert_no_session_was_shared(4)


@needs("celery")
@pytest.mark.parametrize(
    ("pool", "concurrency", "connects"), [("prefork", 3, 3 + 1), ("threads", 8, 2)]
)
def test_celery_keeps_its_connections_from_task_to_task(
    ground: Ground, tmp_path: Path, pool: str, concurrency: int, connects: int
) -> None:
    # Celery looks for this setting, and calls the wrapper's close_pool() then.
    database = ground.scratch.account.settings(OPTIONS={"pool": {"pool_size": 2}})
    options = ["--pool", pool, "--concurrency", str(concurrency)]
    environment = {"SERVERS_DATABASE": json.dumps(database), "SERVERS_NO_THREADS": "1"}
    run_celery(ground, tmp_path, *options, **environment)
    assert 0 < ground.log.connects() <= connects


@pytest.mark.parametrize("how", ["executor", "fork", "forkserver", "spawn"])
def test_pools_of_processes(ground: Ground, how: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "tests.servers.project.pools", how, str(SECONDS)],
        env=ground.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE + SECONDS,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert ground.rows() == 2 * int(finished.stdout) > 0
    ground.assert_no_session_was_shared(4)
