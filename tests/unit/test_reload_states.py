"""A reload, from its preflight to its end, with preflights that take no time."""

import sys
import time
from pathlib import Path

import pytest

from pooldaemon.workers.process.invocation import Invocation
from pooldaemon.workers.supervisor.preflight import VARIABLE, Attempt
from pooldaemon.workers.supervisor.reload import MOST_FAILURES, Reload, ReloadState
from tests.support.poll import wait_until

PASSES = f"import os; os.write(int(os.environ[{VARIABLE!r}].partition(':')[2]), b'passed\\n')"


def invocation(code: str, directory: str = ".") -> Invocation:
    return Invocation(directory, sys.executable, ("-S", "-E", "-c", code), {})


def tried(code: str, reload: Reload | None = None) -> Reload:
    """One whose preflight runs this, and has ended."""
    reload = reload or Reload()
    reload.begin(0.0, 60.0, invocation(code))
    assert reload.state is ReloadState.TRYING
    wait_until(lambda: reload.has_passed(0.0) or not reload.is_trying, 10, "the preflight's end")
    return reload


def test_a_preflight_that_says_so_and_ends_well_has_passed() -> None:
    reload = Reload()
    reload.begin(0.0, 60.0, invocation(PASSES))
    wait_until(lambda: reload.has_passed(0.0), 10, "it passes")
    assert (reload.state, reload.reason) == (ReloadState.TRYING, None)  # until it is handed over
    assert not reload.is_trying


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "the preflight ended without having tried the new code"),
        ("print('all is well')", "the preflight ended without having tried the new code"),
        (f"{PASSES}; raise SystemExit(3)", "the preflight exited with status 3"),
        (f"{PASSES}; os.kill(os.getpid(), 9)", "the preflight exited with status -9"),
        ("print('first'); raise SystemExit('the reason')", "the reason"),
    ],
    ids=["empty", "other program", "status", "signal", "error"],
)
def test_a_preflight_without_both_has_not(code: str, reason: str) -> None:
    reload = tried(code)
    assert reload.describe() == {"number": 1, "state": "failed", "reason": reason}


def test_a_preflight_that_is_late_is_ended() -> None:
    reload = Reload()
    reload.begin(0.0, 60.0, invocation("import signal; signal.pause()"))
    assert not reload.has_passed(59.9)
    assert reload.is_trying
    (pid,) = reload.children
    assert not reload.has_passed(60.0)
    assert reload.reason == "the preflight did not end in time"
    assert not Path(f"/proc/{pid}").exists()


def test_what_is_missing_is_named() -> None:
    reload = Reload()
    reload.begin(0.0, 60.0, invocation("", directory="/no/such/directory"))
    reason = "the preflight can't be started: /no/such/directory: No such file or directory"
    assert reload.describe() == {"number": 1, "state": "failed", "reason": reason}


def test_new_workers_that_die_end_the_rolling_and_the_next_reload_may_begin() -> None:
    reload = Reload(1, ReloadState.ROLLING)
    deaths = [reload.note_failure(f"death {n}") for n in range(1, MOST_FAILURES + 1)]
    assert deaths == [False] * (MOST_FAILURES - 1) + [True]
    assert reload.describe() == {
        "number": 1, "state": "failed", "reason": f"death {MOST_FAILURES}",
    }  # fmt: skip
    assert not reload.is_under_way
    assert not tried(PASSES, reload).is_rolling


def test_a_preflight_that_fails_while_old_workers_drain_leaves_them_draining() -> None:
    reload = tried("raise SystemExit('broken')", Reload(1, ReloadState.ROLLING))
    assert reload.is_rolling
    reload.finish()
    assert reload.describe() == {"number": 2, "state": "failed", "reason": "broken"}
    assert not reload.is_under_way


def test_a_rolling_that_ends_while_the_next_one_is_tried_does_not_end_that() -> None:
    for end in (Reload.finish, lambda reload: Reload.give_up(reload, "no licence")):
        reload = Reload(1, ReloadState.ROLLING)
        reload.begin(0.0, 60.0, invocation("import signal; signal.pause()"))
        end(reload)
        assert (reload.state, reload.is_rolling) == (ReloadState.TRYING, False)
        reload.cancel()


@pytest.mark.parametrize("state", [ReloadState.TRYING, ReloadState.ROLLING])
def test_the_end_of_the_daemon_is_the_end_of_its_reload(state: ReloadState) -> None:
    reload = Reload(1, state)
    if state is ReloadState.TRYING:
        reload.begin(0.0, 60.0, invocation("import signal; signal.pause()"))
    reload.cancel()
    assert (reload.state, reload.reason) == (ReloadState.FAILED, "the daemon ends")
    assert reload.children == set()


def test_a_reload_that_is_over_is_not_changed_by_the_daemons_end() -> None:
    reload = Reload(1, ReloadState.ROLLING)
    reload.finish()
    reload.cancel()
    assert reload.state is ReloadState.DONE


def test_nothing_is_written_to_a_preflight_of_an_older_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    Attempt().has_passed()  # descriptor 1 is not its own
    assert time.monotonic() > 0
