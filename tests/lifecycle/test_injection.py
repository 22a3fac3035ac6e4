"""Every call of the supervisor to the system may fail: nothing is lost by it.

For each failure the daemon does one thing, such as to replace a worker, in which the call fails.
Healthy workers must live on, units must end that have begun, the daemon must have all its workers
again, and it must end in order. A seeded sample runs always; ``tests/support/injection/chosen.py``
has the variables that choose others, or all.
"""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pooldaemon.testing import wait_until
from tests.lifecycle.daemon import TIMEOUT
from tests.lifecycle.databases import SQLiteDatabase
from tests.lifecycle.injected import Injected, Injector
from tests.support.injection import (
    ARMED,
    EXECUTED,
    HANDLED,
    IMPORTED,
    IN_SETUP,
    Failure,
    compile_library,
)
from tests.support.injection.chosen import Chosen, Group, Result

pytestmark = pytest.mark.once

REFUSED = (1, 3)
"""Exit statuses of a start that could not be."""

FAILURES_EACH = 25
"""That one daemon goes through."""

ENDED = "it has ended"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = compile_library(tmp_path_factory.mktemp("injection"))
    if library is None:
        pytest.skip("needs a C compiler, and Linux")
    return library


@pytest.fixture
def injector(tmp_path: Path, sqlite: SQLiteDatabase, library: Path) -> Injector:
    return Injector(tmp_path, sqlite, library)


def with_daemons(
    injector: Injector,
    chosen: Chosen,
    attempt: Callable[[Injected, Group, Result], None],
    each: int = FAILURES_EACH,
    *,
    preflight: bool = True,
) -> None:
    """Try all that is chosen, in one daemon after the other.

    :param attempt: tries one; the daemon goes on after it unless it has ended.
    :param each: failures that a daemon goes through at the most.
    :param preflight: whether a reload tries the new code first.
    """
    groups = iter(chosen)
    group = next(groups, None)
    while group is not None:
        tried = 0
        with injector.started(preflight=preflight) as injected:
            injected.wait_for_workers()
            while group is not None and tried < each and not injected.has_ended:
                with chosen.trying(group, injected.injection) as result:
                    attempt(injected, group, result)
                    injected.assert_no_unit_is_lost()
                tried += 1
                last, group = group, next(groups, None)
                if result.has_failed:
                    injected.give_up()
                    break
            else:
                if not injected.has_ended:
                    with chosen.ending(last):
                        injected.stop()
    chosen.assert_none_failed()


@contextmanager
def starting(
    injector: Injector, chosen: Chosen, group: Group, when: int
) -> Iterator[tuple[Injected, Result]]:
    """A daemon in whose start something fails."""
    with injector.started(group, when) as injected:
        with chosen.trying(group, injected.injection) as result:
            yield injected, result
        if result.has_failed:
            injected.give_up()


@pytest.mark.parametrize(("moment", "when"), [("launch", HANDLED), ("start", IN_SETUP)])
def test_what_fails_at_the_start_ends_it_in_order_or_costs_nothing(
    injector: Injector, moment: str, when: int
) -> None:
    """From the command's ``handle()`` on, or from ``setup()`` on."""
    chosen = Chosen(moment)
    for group in chosen:
        with starting(injector, chosen, group, when) as (injected, result):
            daemon = injected.daemon
            with daemon._explained():
                wait_until(
                    lambda i=injected: i.has_ended or len(i.workers()) == 2,
                    TIMEOUT,
                    "neither started nor refused",
                )
            injected.injection.disarm()
            if not injected.has_ended:
                injected.stop()
                continue
            result.outcome = "refused"
            with daemon._explained():
                assert daemon.process.returncode in REFUSED
                assert daemon.err, "without a word"
            daemon.assert_nothing_left()
            assert not injected.units.lost(set())
    chosen.assert_none_failed()


def test_what_fails_while_nothing_happens_or_somebody_asks_costs_nothing(
    injector: Injector,
) -> None:
    def attempt(injected: Injected, group: Group, result: Result) -> None:
        before = injected.wait_for_workers()
        injected.injection.arm(group, injected.pid)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            os.kill(injected.pid, number)
        for _ in range(3):
            injected.workers()
        injected.wait_for_units(5)
        assert injected.wait_for_workers() == before
        injected.wait_for_units(1)

    with_daemons(injector, Chosen("run"), attempt)


def test_what_fails_while_a_dead_worker_is_replaced_costs_no_other_one(
    injector: Injector,
) -> None:
    def attempt(injected: Injected, group: Group, result: Result) -> None:
        workers = injected.wait_for_workers()
        victim = injected.worker("worker-2" if injected.killed else "worker-1")
        injected.injection.arm(group, injected.pid)
        injected.kill(victim)
        found = injected.wait_for_workers(but=injected.killed)
        assert workers - {victim} <= found, injected.daemon.log

    # A daemon for every two: the second death of one worker has its delay, and in the end a limit.
    with_daemons(injector, Chosen("respawn"), attempt, each=2)


def reload(injected: Injected, group: Group, when: int) -> str:
    """Have the daemon reload, and wait for the end of that, whatever it is.

    :param when: from which moment on the failures count.
    :returns: how it has ended.
    """
    before = injected.wait_for_workers()
    number = injected.daemon.status()["reload"]["number"]
    injected.injection.arm(group, injected.pid, when)
    os.kill(injected.pid, signal.SIGHUP)

    def end() -> str | None:
        with suppress(OSError):
            outcome = injected.daemon.status()["reload"]
            if outcome["number"] > number and outcome["state"] in ("done", "failed"):
                return str(outcome["state"])
        return ENDED if injected.has_ended else None

    with injected.daemon._explained():
        state = wait_until(end, TIMEOUT, "the reload does not end")
    if state != ENDED:
        injected.wait_for_workers(but=before if state == "done" else None)
    return ENDED if state == ENDED else f"reload {state}"


@pytest.mark.parametrize(
    ("moment", "when", "spread"),
    [
        ("before", ARMED, 0),
        ("imports", IMPORTED, 5),
        ("takes over", HANDLED, 0),
        ("after", IN_SETUP, 0),
    ],
)
def test_what_fails_in_a_reload_makes_it_fail_or_costs_nothing(
    injector: Injector, moment: str, when: int, spread: int
) -> None:
    """Before the execution of the new code, while it is imported, while it takes over, or later."""

    def attempt(injected: Injected, group: Group, result: Result) -> None:
        result.outcome = reload(injected, group, when)
        assert result.outcome != ENDED, injected.daemon.log

    chosen = Chosen(f"reload {moment}", spread)
    with_daemons(injector, chosen, attempt, preflight=moment == "before")


def test_what_fails_before_new_code_can_look_may_end_the_daemon_but_costs_no_unit(
    injector: Injector,
) -> None:
    """The interpreter's own start, and what the project imports before this package."""

    def attempt(injected: Injected, group: Group, result: Result) -> None:
        workers = injected.wait_for_workers()
        result.outcome = reload(injected, group, EXECUTED)
        if injected.has_ended:
            injected.assert_orphans_end(workers)
            with injected.daemon._explained():
                assert injected.daemon.process.returncode > 0
            injected.daemon.assert_nothing_left()

    with_daemons(injector, Chosen("reload executed"), attempt, preflight=False)


def test_what_fails_while_it_drains_does_not_keep_it_from_its_end(injector: Injector) -> None:
    def attempt(injected: Injected, group: Group, result: Result) -> None:
        workers = injected.wait_for_workers()
        injected.daemon.wait_for_threads("ended", 2)
        injected.injection.arm(group, injected.pid)
        os.kill(injected.pid, signal.SIGTERM)
        with injected.daemon._explained():
            wait_until(lambda: injected.has_ended, TIMEOUT, "it does not end")
            assert injected.daemon.process.returncode == 0
        injected.assert_orphans_end(workers)
        injected.daemon.assert_nothing_left()

    with_daemons(injector, Chosen("drain"), attempt)


def test_without_any_further_process_the_daemon_goes_on_and_says_so(injector: Injector) -> None:
    """As at a limit of the control group, which lasts."""
    with injector.started() as injected:
        victim, other = sorted(injected.wait_for_workers())
        injected.injection.arm([Failure("fork", errno.EAGAIN, 1, count=1_000_000)], injected.pid)
        injected.kill(victim)
        wait_until(lambda: injected.injection.hits[0] >= 2, TIMEOUT, "a second try")
        (trouble,) = injected.daemon.status()["troubles"]
        assert trouble["what"] == "start workers"
        assert injected.workers() == {other}
        injected.injection.disarm()
        assert other in injected.wait_for_workers()
        assert len(injected.daemon.log_lines("can't start workers")) == 1
        injected.stop()
