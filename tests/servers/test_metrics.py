"""Prometheus and a server of several processes: one scrape has all pools, whichever answers."""

import os
import signal
import sys
from pathlib import Path
from urllib.error import HTTPError

import pytest

from scripts.throwaway_mariadb import free_port
from tests.servers.conftest import Ground
from tests.servers.server import ask, running, stop, wait_for_answer
from tests.support.poll import wait_until
from tests.support.scrape import scrape

pytestmark = [pytest.mark.mysql, pytest.mark.timeout(0)]

APPLICATION = "tests.servers.project.metrics:application"
CONFIG = Path(__file__).with_name("project") / "gunicorn_metrics.py"
PATIENCE = 60.0
UNITS = 30


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_gunicorns_workers_are_summed_up_also_when_they_die(
    ground: Ground, tmp_path: Path, preload: list[str]
) -> None:
    port, log = free_port(), tmp_path / "log"
    shared = tmp_path / "shared"
    shared.mkdir()
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "gunicorn", APPLICATION, "--config", str(CONFIG), *preload]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "2"]
    environment = {
        **ground.environment,
        "PROMETHEUS_MULTIPROC_DIR": str(shared),
        "SERVERS_URLCONF": "tests.servers.project.metrics",
    }
    answers: list[int] = []

    def ask_one() -> int:
        answers.append(int(ask(url)))
        return len(set(answers))

    def all_is_scraped() -> bool:
        try:
            metrics = scrape(f"{url}metrics")
        except HTTPError:  # the client may find a new worker's file before it has its size
            return False
        sessions, borrows = len(ground.scratch.sessions()), 1 + len(answers)
        return (
            metrics("pooldaemon_pool_use_seconds_count") == borrows
            and metrics("pooldaemon_pool_wait_seconds_bucket", le="+Inf") == borrows
            and metrics("pooldaemon_pool_sessions") == sessions
            and metrics("pooldaemon_pool_connections", state="idle") == sessions
        )

    with running(command, environment, log) as process:
        wait_for_answer(url, process, log)
        wait_until(lambda: ask_one() >= 2 and len(answers) > UNITS, PATIENCE, "one worker only")
        wait_until(all_is_scraped, PATIENCE, "something is missing")
        victim = answers[-1]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: f"worker {victim} is gone" in log.read_text(), PATIENCE, "no funeral")
        wait_until(all_is_scraped, PATIENCE, "what the dead worker did is missing")
        wait_until(lambda: ask_one() >= 3, PATIENCE, "no third worker")
        wait_until(all_is_scraped, PATIENCE, "something is missing of the third worker")
        stop(process, log)
    assert "Traceback" not in log.read_text()
