"""Every call of the supervisor to the system may fail: nothing is lost by it.

For each failure the daemon does one thing, such as to replace a worker, in which the call fails.
Healthy workers must live on, units must end that have begun, the daemon must have all its workers
again, and it must end in order. A seeded sample runs always; INJECTIONS says how many of each kind
of moment, or ``all``, and INJECTION_SEED which.
"""

import errno
import itertools
import logging
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pooldaemon.testing import processes, wait_until
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.support.injection import (
    ARMED,
    IN_SETUP,
    VARIABLE,
    Failure,
    Injection,
    compile_library,
    failures,
)

logger = logging.getLogger(__name__)

GIVEN = os.environ.get("INJECTIONS", "2")
SEED = int(os.environ.get("INJECTION_SEED", "1"))
TIMES = int(os.environ.get("INJECTION_TIMES", "0"))
"""How often in a row a call fails; 0: once, or several times, as it comes."""

ORPHANS_GONE = 2.0
"""Seconds that a worker may outlive its supervisor."""

REFUSED = (1, 3)
"""Exit statuses of a start that could not be."""


class Chosen:
    """First no failure, to see what is called in a moment, and then some of what can fail in it."""

    def __init__(self, moment: str) -> None:
        self._moment = moment
        self._calls: dict[str, int] = {}

    def __iter__(self) -> Iterator[Failure]:
        yield Failure.none()
        calls = self._calls
        every = [*failures(calls, TIMES)] if TIMES else [*failures(calls), *failures(calls, 3)]
        seen = ", ".join(f"{function} {number}" for function, number in calls.items() if number)
        logger.info("%s: %d failures, of %s", self._moment, len(every), seen)
        if GIVEN != "all":
            choice = random.Random(f"{SEED} {self._moment}")
            every = choice.sample(every, min(int(GIVEN), len(every)))
        yield from every

    @property
    def has_begun(self) -> bool:
        """The calls are known."""
        return bool(self._calls)

    def note(self, failure: Failure, injection: Injection) -> None:
        """It has been tried."""
        hit = injection.disarm()
        self._calls = self._calls or injection.calls
        logger.info("%s, %s: %d times", self._moment, failure, hit)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = compile_library(tmp_path_factory.mktemp("injection"))
    if library is None:
        pytest.skip("needs a C compiler, and Linux")
    return library


StartInjected = Callable[..., "Injected"]


class Injected:
    """A daemon of two workers whose calls to the system can be made to fail."""

    def __init__(self, daemon: Daemon, injection: Injection) -> None:
        self.daemon = daemon
        self.injection = injection

    @property
    def pid(self) -> int:
        return self.daemon.pid

    def workers(self) -> set[int]:
        """The pids of those that are ready; empty if it does not answer."""
        with suppress(OSError):
            told = self.daemon.status()
            return {w["pid"] for w in told["workers"] if w["state"] == "ready"}
        return set()

    def victim(self, killed: set[int]) -> int:
        """A worker in whose place none has been killed."""
        name = "worker-2" if killed else "worker-1"
        (pid,) = (w["pid"] for w in self.daemon.status()["workers"] if w["name"] == name)
        return int(pid)

    def wait_for_workers(self, but: set[int] | None = None) -> set[int]:
        """Wait until all are there, without those that have gone."""

        def ready() -> set[int]:
            found = self.workers()
            return found if len(found) == 2 and not found & (but or set()) else set()

        return self.daemon._wait(ready, TIMEOUT, f"not two workers, besides {but}")

    @contextmanager
    def failing(self, failure: Failure, chosen: Chosen, when: int = ARMED) -> Iterator[None]:
        with self.daemon._explained():
            self.injection.arm(failure, self.pid, when)
            try:
                yield
            except AssertionError as error:
                raise AssertionError(f"{failure}: {error}") from None
            finally:
                chosen.note(failure, self.injection)

    def assert_no_unit_is_lost(self, killed: set[int]) -> None:
        """All that have begun have ended, but those in workers that the test has killed."""
        events = self.daemon.journal.events
        begun = [e for e in events("began") if e["pid"] not in killed]
        ended = [e for e in events("ended") if e["pid"] not in killed]
        assert len(begun) == len(ended)
        assert begun


@pytest.fixture
def start_injected(
    start_work: StartDaemon,
    sqlite: SQLiteDatabase,
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> StartInjected:
    numbers = itertools.count(1)

    def start(failure: Failure | None = None) -> Injected:
        injection = Injection(tmp_path / f"injection-{next(numbers)}")
        if failure is not None:
            injection.arm(failure, 0, IN_SETUP)
        options = ("--processes", "2", "--pidfile", "pid", "--logfile", "log")
        options += ("--health-file", "health", "--in-setup", "begin_injection")
        with monkeypatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(library))
            patch.setenv(VARIABLE, str(injection.path))
            return Injected(start_work(sqlite, "tell_version", *options), injection)

    return start


def test_what_fails_at_the_start_ends_it_in_order_or_costs_nothing(
    start_injected: StartInjected,
) -> None:
    chosen = Chosen("start")
    for failure in chosen:
        injected = start_injected(failure)
        daemon = injected.daemon
        with daemon._explained():
            wait_until(
                lambda d=daemon, i=injected: d.process.poll() is not None or len(i.workers()) == 2,
                TIMEOUT,
                f"{failure}: neither started nor refused",
            )
        chosen.note(failure, injected.injection)
        if daemon.process.poll() is None:
            daemon.stop()
            injected.assert_no_unit_is_lost(set())
        else:
            assert daemon.process.returncode in REFUSED, f"{failure}\n{daemon.log}"
            daemon.assert_nothing_left()


def test_what_fails_while_nothing_happens_or_somebody_asks_costs_nothing(
    start_injected: StartInjected,
) -> None:
    injected = start_injected()
    workers = injected.wait_for_workers()
    chosen = Chosen("run")
    for failure in chosen:
        with injected.failing(failure, chosen):
            heard = injected.daemon.journal.events("ended")[-1]["time"]
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                os.kill(injected.pid, number)
            for _ in range(3):
                injected.workers()
            injected.daemon.wait_for("ended", len(injected.daemon.journal.events("ended")) + 5)
        assert injected.wait_for_workers() == workers, failure
        assert injected.daemon.journal.events("ended")[-1]["time"] > heard
    injected.daemon.stop()
    injected.assert_no_unit_is_lost(set())


def test_what_fails_while_a_dead_worker_is_replaced_costs_no_other_one(
    start_injected: StartInjected,
) -> None:
    chosen = iter(failing := Chosen("respawn"))
    # A daemon for every two: the second death of one worker has its delay, and in the end a limit.
    while first := next(chosen, None):
        injected = start_injected()
        workers = injected.wait_for_workers()
        killed: set[int] = set()
        for failure in filter(None, (first, next(chosen, None) if failing.has_begun else None)):
            victim = injected.victim(killed)
            with injected.failing(failure, failing):
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
                found = injected.wait_for_workers(but=killed)
            assert workers - {victim} <= found, f"{failure}\n{injected.daemon.log}"
            workers = found
        injected.daemon.stop()
        injected.assert_no_unit_is_lost(killed)


def reloaded(injected: Injected, number: int, before: set[int]) -> set[int]:
    """Wait for the end of a reload, whatever it is; the workers after it."""

    def ended() -> bool:
        with suppress(OSError):
            told = injected.daemon.status()["reload"]
            return told["number"] >= number and told["state"] in ("done", "failed")
        return False

    injected.daemon._wait(ended, TIMEOUT, "the reload does not end")
    state = injected.daemon.status()["reload"]["state"]
    return injected.wait_for_workers(but=before if state == "done" else None)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_fails_in_a_reload_makes_it_fail_or_costs_nothing(
    start_injected: StartInjected, moment: str
) -> None:
    """Before the execution of the new code, or after it."""
    injected = start_injected()
    workers = injected.wait_for_workers()
    chosen = Chosen(f"reload {moment}")
    when = ARMED if moment == "before" else IN_SETUP
    for number, failure in enumerate(chosen, start=1):
        with injected.failing(failure, chosen, when):
            os.kill(injected.pid, signal.SIGHUP)
            workers = reloaded(injected, number, workers)
    injected.daemon.stop()
    injected.assert_no_unit_is_lost(set())


def test_what_fails_while_it_drains_does_not_keep_it_from_its_end(
    start_injected: StartInjected,
) -> None:
    chosen = Chosen("drain")
    for failure in chosen:
        injected = start_injected()
        workers = injected.wait_for_workers()
        injected.daemon.wait_for_threads("ended", 2)
        injected.injection.arm(failure, injected.pid)
        os.kill(injected.pid, signal.SIGTERM)
        assert injected.daemon.process.wait(TIMEOUT) == 0, f"{failure}\n{injected.daemon.log}"
        chosen.note(failure, injected.injection)
        wait_until(
            lambda pids=workers: not any(map(processes.is_alive, pids)),
            ORPHANS_GONE,
            f"{failure}: workers outlive their supervisor",
        )
        injected.daemon.assert_nothing_left()
        injected.assert_no_unit_is_lost(set())


def test_without_any_further_process_the_daemon_goes_on_and_says_so(
    start_injected: StartInjected,
) -> None:
    """As at a limit of the control group, which lasts."""
    injected = start_injected()
    victim, other = sorted(injected.wait_for_workers())
    injected.injection.arm(Failure("fork", errno.EAGAIN, 1, count=1_000_000), injected.pid)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: injected.injection.hit >= 2, TIMEOUT, "a second try")
    (trouble,) = injected.daemon.status()["troubles"]
    assert trouble["what"] == "start workers"
    assert injected.workers() == {other}
    injected.injection.disarm()
    assert other in injected.wait_for_workers()
    assert len(injected.daemon.log_lines("can't start workers")) == 1
    injected.daemon.stop()
    injected.assert_no_unit_is_lost({victim})
