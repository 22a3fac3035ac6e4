"""The manifest in the docs: its times fit the daemon's, and its probes work."""

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management.base import CommandParser

from pooldaemon.conf import DaemonConfig
from pooldaemon.management.base import BaseDaemonCommand
from pooldaemon.management.options import SWITCHES, config_of, read_options
from pooldaemon.workers.process.health import STOP_MARGIN
from pooldaemon.workers.supervisor.worker_set import LIVELY, RESPAWN_DELAY

MANIFEST = Path(__file__).parents[2] / "docs" / "kubernetes.yaml"
LOADING = 20.0
"""Seconds that Django may take to load on a busy node."""


@pytest.fixture
def pod() -> Any:
    return yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]


@pytest.fixture
def container(pod: Any) -> Any:
    (container,) = pod["containers"]
    return container


@pytest.fixture
def options(container: Any) -> dict[str, Any]:
    """As the command reads the manifest's arguments."""
    command = BaseDaemonCommand()
    parser = CommandParser(prog="manage.py send_reminders", called_from_command_line=False)
    command.add_arguments(parser)
    return vars(parser.parse_args(container["args"]))


@pytest.fixture
def config(options: dict[str, Any]) -> DaemonConfig:
    found = read_options(BaseDaemonCommand(), options)
    return config_of(found, **{name: options[name] for name in SWITCHES})


def test_a_pod_gets_more_time_to_end_than_its_units(pod: Any, config: DaemonConfig) -> None:
    assert "lifecycle" not in pod["containers"][0]  # a preStop hook would take some of it
    assert pod["terminationGracePeriodSeconds"] >= config.stop_timeout + STOP_MARGIN


def test_a_pod_gets_more_time_to_start_than_its_first_worker(
    container: Any, config: DaemonConfig
) -> None:
    probe = container["startupProbe"]
    allowed = probe["failureThreshold"] * probe["periodSeconds"]
    assert allowed >= config.setup_timeout + config.boot_timeout + LOADING


def oldest(probe: Any) -> int:
    """The age in seconds from which the probe fails."""
    found = re.search(r"-lt (\d+)$", probe["exec"]["command"][-1])
    assert found
    return int(found[1])


def test_a_pod_is_ended_later_than_the_daemon_helps_itself(
    container: Any, config: DaemonConfig
) -> None:
    assert oldest(container["readinessProbe"]) > LIVELY
    remedies = config.heartbeat_timeout + RESPAWN_DELAY[1]
    assert oldest(container["livenessProbe"]) > remedies + LOADING


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_probe_passes_while_the_file_is_young(
    container: Any, options: dict[str, Any], tmp_path: Path, probe: str
) -> None:
    health = tmp_path / "health"
    words = container[probe]["exec"]["command"]
    path = options["health_file"]
    assert path in words[-1]
    assert container["volumeMounts"][0]["mountPath"] == str(Path(path).parent)
    command = [word.replace(path, str(health)) for word in words]

    def passes() -> bool:
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0

    assert not passes()
    health.touch()
    assert passes()
    if probe != "startupProbe":
        age = time.time() - oldest(container[probe]) - 1
        os.utime(health, (age, age))
        assert not passes()
