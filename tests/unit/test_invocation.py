"""How a process finds out by which names it was started."""

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

from pooldaemon.workers.process import invocation
from pooldaemon.workers.process.invocation import Invocation
from tests.support.poll import wait_until


@pytest.fixture
def current(tmp_path: Path) -> Path:
    """A link to a release."""
    (tmp_path / "release").mkdir()
    link = tmp_path / "current"
    link.symlink_to("release")
    return link


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process was started without arguments and variables, unless the test says otherwise."""
    monkeypatch.setattr(sys, "orig_argv", [sys.executable])
    set_variables(monkeypatch, {})
    return monkeypatch


def set_variables(patch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    patch.setattr(invocation, "_variables_at_start", lambda: dict(variables))


def test_the_shells_word_counts(start: pytest.MonkeyPatch, current: Path) -> None:
    start.chdir(current)
    set_variables(start, {"PWD": str(current), "OTHER": "1"})
    found = Invocation.of_this_process()
    assert found.directory == str(current)
    assert found.absolute("run/pid") == current / "run" / "pid"
    assert found.variables == {"PWD": str(current), "OTHER": "1"}


@pytest.mark.parametrize("pwd", [None, "", "/", "current", "/no/such/directory"])
def test_a_shell_that_is_wrong_or_says_nothing_leaves_the_kernels_word(
    start: pytest.MonkeyPatch, current: Path, pwd: str | None
) -> None:
    start.chdir(current)
    set_variables(start, {} if pwd is None else {"PWD": pwd})
    found = Invocation.of_this_process()
    assert found.directory == str(current.parent / "release")
    assert found.variables["PWD"] == found.directory


@pytest.mark.parametrize("variable", ["POOLDAEMON_HANDOVER", "POOLDAEMON_TRIAL"])
def test_a_link_that_moves_while_a_reload_executes_the_command_keeps_its_name(
    start: pytest.MonkeyPatch, current: Path, variable: str
) -> None:
    start.chdir(current)
    (current.parent / "next").mkdir()
    current.unlink()
    current.symlink_to("next")
    set_variables(start, {"PWD": str(current), variable: "7"})
    found = Invocation.of_this_process()
    assert found.directory == str(current)
    assert found.variables == {"PWD": str(current)}


@pytest.mark.parametrize("below", ["", "src"])
def test_without_a_shell_a_path_through_the_link_tells(
    start: pytest.MonkeyPatch, current: Path, below: str
) -> None:
    (current / "src").mkdir()
    start.chdir(current / below)
    start.setattr(sys, "orig_argv", [sys.executable, str(current / "manage.py"), "work"])
    assert Invocation.of_this_process().directory == str(current / below)
    start.setattr(sys, "orig_argv", [sys.executable, "-m", "django"])
    set_variables(start, {"PYTHONPATH": f"/elsewhere:{current}"})
    assert Invocation.of_this_process().directory == str(current / below)


def test_a_removed_directory_is_an_error(start: pytest.MonkeyPatch, current: Path) -> None:
    start.chdir(current)
    (current.parent / "release").rmdir()
    with pytest.raises(OSError, match="No such file"):
        Invocation.of_this_process()


@pytest.mark.parametrize("called", ["current/venv/bin/python", "python"])
def test_the_interpreter_keeps_the_name_that_it_was_called_by(
    start: pytest.MonkeyPatch, current: Path, called: str
) -> None:
    venv.EnvBuilder(symlinks=True).create(current / "venv")
    start.chdir(current.parent)
    set_variables(start, {"PATH": f"{current / 'venv/bin'}:/usr/bin"})
    start.setattr(sys, "executable", str(current.resolve() / "venv/bin/python"))
    start.setattr(sys, "orig_argv", [called, "manage.py"])
    found = Invocation.of_this_process()
    assert found.command_line == [str(current / "venv/bin/python"), "manage.py"]


def test_a_name_that_is_not_the_interpreters_is_not_believed(start: pytest.MonkeyPatch) -> None:
    start.setattr(sys, "orig_argv", ["daemon-of-the-shop", "manage.py"])
    assert Invocation.of_this_process().command_line == [sys.executable, "manage.py"]


CODE = """
import os
os.environ["GIVEN"], os.environ["ADDED"] = "changed", "1"
from pooldaemon.workers.process.invocation import Invocation
variables = Invocation.of_this_process().variables
print(variables["GIVEN"], "ADDED" in variables, "POOLDAEMON_HANDOVER" in variables)
"""


def test_the_environment_is_that_of_the_start() -> None:
    variables = {"GIVEN": "at the start", "POOLDAEMON_HANDOVER": "7"}
    child = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout == "at the start False False\n"


def test_another_processs_environment_is_brought_but_for_what_is_ones_own() -> None:
    given = {"NOTIFY_SOCKET": "/other", "PWD": "/other", "NEW": "1"}
    with subprocess.Popen(["/bin/sleep", "60"], env=given) as other:
        mine = Invocation(
            "/here", "python", (), {"NOTIFY_SOCKET": "/mine", "PWD": "/here", "OLD": "1"}
        )
        try:
            wait_until(lambda: b"sleep" in Path(f"/proc/{other.pid}/cmdline").read_bytes(), 10, "")
            found = mine.with_environment_of(other.pid)
        finally:
            other.kill()
    assert found.variables == {"NOTIFY_SOCKET": "/mine", "PWD": "/here", "NEW": "1"}
    with pytest.raises(OSError, match="No such"):
        mine.with_environment_of(2**22)


def test_an_environment_that_a_process_title_covers_is_read_where_it_still_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"daemon: worker 1\0\0\0\0PATH=/bin\0")
    monkeypatch.setenv("GIVEN", "1")
    assert Invocation.of_this_process().variables["GIVEN"] == "1"
