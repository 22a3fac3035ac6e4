"""Only the process that takes over is executed again; tests/lifecycle has those that do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pooldaemon.workers.supervisor.reexec import ATTEMPTS, HANDOVER

LEAVES = "import pooldaemon, sys; sys.exit(7)"

FORKS = """
import os, sys
import pooldaemon
if os.fork() == 0:
    sys.exit(7)
status = os.waitstatus_to_exitcode(os.wait()[1])
os._exit(status)  # the parent would be executed again
"""


def run(program: str, content: dict[str, object] | str, path: Path) -> subprocess.CompletedProcess:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with path.open("rb") as file:
        return subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, HANDOVER: str(file.fileno())},
            pass_fds=[file.fileno()],
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )


@pytest.mark.parametrize(
    "content", [{"pid": os.getpid()}, {}, "no JSON"], ids=["another", "older version", "other file"]
)
def test_a_program_that_has_inherited_the_variable_ends_as_it_likes(
    content: dict[str, object] | str, tmp_path: Path
) -> None:
    ended = run(LEAVES, content, tmp_path / "state")
    assert (ended.returncode, ended.stderr) == (7, b"")


def test_a_child_of_the_process_that_takes_over_ends_as_it_likes(tmp_path: Path) -> None:
    # The pid is the program's own: it writes the file itself.
    writes = "import json, os; json.dump({'pid': os.getpid()}, open('state', 'w'))\n"
    program = f"import os; os.chdir({str(tmp_path)!r})\n{writes}{FORKS}"
    ended = run(program, "", tmp_path / "state")
    assert (ended.returncode, ended.stderr) == (7, b"")


def test_after_the_last_attempt_the_workers_are_asked_to_end(tmp_path: Path) -> None:
    program = f"""
import json, os, signal, subprocess, sys
from pathlib import Path
os.environ[{ATTEMPTS!r}] = "3"
import pooldaemon
os.chdir({str(tmp_path)!r})
reading, writing = os.pipe()
worker = subprocess.Popen(["sleep", "60"])
state = {{"pid": os.getpid(), "pidfile": os.path.abspath("pid"), "descriptors": [],
        "workers": [{{"pid": worker.pid, "descriptor": reading}}], "drain_timeout": 30}}
Path("pid").touch()
Path("state").write_text(json.dumps(state))
raise LookupError("the new code's own mistake")
"""
    ended = run(program, "", tmp_path / "state")
    assert ended.returncode == 3
    assert b"LookupError: the new code's own mistake" in ended.stderr
    assert b"the workers drain, and the daemon ends" in ended.stderr
    assert not (tmp_path / "pid").exists()
