"""gevent's greenlets take turns like threads; what can't work is refused with the reason."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


def run_greenlets(library: str, *, patch_first: bool) -> subprocess.CompletedProcess[str]:
    if find_spec(library) is None:  # not imported here: eventlet warns of every fork from then on
        pytest.skip(f"needs {library}")
    steps = [PATCHES[library], "from tests.mysql.greenlets import main"]
    if not patch_first:
        steps.reverse()
    code = "\n".join([*steps, f"from {library} import spawn", "main(spawn)"])
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_greenlets_of_gevent_take_turns_whatever_becomes_of_them() -> None:
    finished = run_greenlets("gevent", patch_first=True)
    assert finished.returncode == 0, finished.stderr
    results = json.loads(finished.stdout)
    for step in results.values():
        assert (step["errors"], step["timeouts"], step["peak"]) == ([], 0, 2)
    turns, killed, holding = results["take_turns"], results["be_killed"], results["end_holding"]
    assert turns["done"] == 20
    assert turns["beats"] > 5, "those who waited kept the others from running"
    assert (turns["in_use"], turns["waiting"]) == (0, 0)
    assert 0 < killed["done"] < 100
    assert (killed["in_use"], killed["waiting"]) == (0, 0)
    assert holding["in_use"] <= 1


@pytest.mark.parametrize(
    ("library", "patch_first", "reason"),
    [
        ("gevent", False, "monkey-patched after Django had been imported"),
        ("eventlet", True, "it removes select.poll()"),
        ("eventlet", False, "it removes select.poll()"),
    ],
)
def test_what_can_not_work_is_refused(library: str, patch_first: bool, reason: str) -> None:
    finished = run_greenlets(library, patch_first=patch_first)
    assert finished.stderr.splitlines()[-1].startswith("refused: ")
    assert reason in finished.stderr
