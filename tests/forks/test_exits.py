"""A fork while the interpreter is ending, or in a signal handler."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.forks.exits import PROGRAMS
from tests.mysql.scratch import scratch_on
from tests.support.mode import MODES
from tests.support.server import Admin

pytestmark = pytest.mark.mysql

PATIENCE = 30.0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_that_forks_at_an_odd_moment_ends_well(
    program: Callable[[], None], mode: str, database_admin: Admin
) -> None:
    with scratch_on(database_admin, os.environ["DATABASE_URL"]) as scratch:
        database = json.dumps(scratch.account.settings(OPTIONS={"pool": {"mode": mode}}))
        finished = subprocess.run(
            [sys.executable, "-m", "tests.forks.exits", program.__name__, database],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert (finished.returncode, finished.stderr) == (0, "")
