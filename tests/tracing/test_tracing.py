"""Under tracing packages: as many spans as on Django's backend, and the pool's promises kept."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mysql.scratch import Scratch
from tests.tracing.tracers import TRACERS

pytestmark = pytest.mark.mysql

ROOT = Path(__file__).parents[2]
TIMEOUT = 60.0


def _run(tracer: str, settings: dict[str, Any], kind: str) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.tracing.units", tracer, json.dumps(settings), kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("tracer", TRACERS)
def test_each_statement_has_the_spans_that_it_has_on_djangos_backend(
    tracer: str, scratch: Scratch
) -> None:
    plain = scratch.account.settings(ENGINE="django.db.backends.mysql", CONN_MAX_AGE=None)
    expected = _run(tracer, plain, "kept")
    if "missing" in expected:
        pytest.skip(f"not installed: {expected['missing']}")
    assert expected["spans"]
    for mode in ("session", "transaction"):
        options = {"pool": {"mode": mode, "pool_size": 1, "timeout": 5}}
        result = _run(tracer, scratch.account.settings(OPTIONS=options), "pooled")
        assert result["spans"] == expected["spans"], mode
        assert result["kept handle is dead"], mode
        assert result["kept cursor is dead"], mode
        assert result["sessions"] == 1, mode
        assert result["resets"] == 0, mode
