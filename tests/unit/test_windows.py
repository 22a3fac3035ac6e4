"""Where there is no fork, a daemon says so in a line, and everything else goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """
from pooldaemon import BaseDaemonCommand
from pooldaemon.workers.worker.context import WorkContext
from pooldaemon.workers.supervisor.handle import WorkerDeath
from pooldaemon.workers.worker.worker import WorkerInfo


class Command(BaseDaemonCommand):
    def perform(self, ctx: WorkContext) -> None: ...
    def worker_init(self, worker: WorkerInfo) -> None: ...
    def worker_died(self, death: WorkerDeath) -> None: ...
"""

SETTINGS = """
INSTALLED_APPS = ["shop", "pooldaemon"]
DATABASES = {"default": {"ENGINE": "pooldaemon.backends.sqlite3", "NAME": "db.sqlite3"}}
"""


def manage(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(directory), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", "tests.support.windows", *words],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONPATH": path},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    commands = tmp_path / "shop/management/commands"
    commands.mkdir(parents=True)
    (tmp_path / "shop_settings.py").write_text(SETTINGS)
    (commands / "work.py").write_text(COMMAND)
    return tmp_path


@pytest.mark.parametrize(
    "words", [("rundaemon", "shop.unit"), ("work",), ("work", "stop"), ("rundaemon", "status")]
)
def test_a_daemon_says_in_a_line_what_it_lacks(shop: Path, words: tuple[str, ...]) -> None:
    result = manage(shop, *words)
    assert result.returncode == 1
    assert result.stderr == (
        "CommandError: a daemon needs os.fork(), which this platform does not have\n"
    )


@pytest.mark.parametrize("words", [("check",), ("help",), ("work", "--help"), ("migrate",)])
def test_other_commands_work(shop: Path, words: tuple[str, ...]) -> None:
    result = manage(shop, *words)
    assert (result.returncode, result.stderr) == (0, "")
