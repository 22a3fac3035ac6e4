"""Workers that die, one or all, early or late, and those whose supervisor does."""

import os
import signal
import time

import pytest

from pooldaemon.testing import processes
from pooldaemon.workers.supervisor.worker_set import RESPAWN_DELAY
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import Database, SQLiteDatabase
from tests.support.poll import wait_until
from tests.support.promise import assert_within

FIRST_DELAY, _ = RESPAWN_DELAY
ORPHANS_GONE = 2.0  # seconds
UNDER_WAY = 0.3  # a delay counts from the beginning of the look in which the death was found


def test_a_killed_worker_is_replaced_at_once_and_then_after_a_growing_delay(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "hold")
    delays = []
    for number in range(1, 4):
        victim = daemon.wait_for("started", number)[-1]["pid"]
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        (death,) = daemon.wait_for("worker_died", worker_pid=victim)
        assert death["signal"] == "SIGKILL"
        replacement = daemon.wait_for("worker_init", number + 1)[-1]
        assert replacement["worker"] == "worker-1"
        delays.append(replacement["time"] - killed)
        assert daemon.log_lines("worker-1", str(victim), "SIGKILL")
    assert len(daemon.log_lines("another one starts now")) == 1
    # Doubling, and shortened by half at most: without growth the last could be shorter.
    assert delays[1] >= FIRST_DELAY / 2 - UNDER_WAY
    assert delays[2] >= FIRST_DELAY - UNDER_WAY
    daemon.wait_for("started", 4)
    daemon.journal.open_gate()
    daemon.stop()


def test_all_workers_killed_at_once_are_all_replaced_and_reaped(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--processes", "8")
    daemon.wait_for_threads("unit", 8)
    killed = daemon.workers
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    daemon.wait_for("worker_died", 8, signal="SIGKILL")
    daemon.wait_for_threads("unit", 16)
    children = processes.children(daemon.process.pid)
    assert len(children) == 8
    assert not killed & {child.pid for child in children}
    assert "Z" not in {child.state for child in children}
    replaced = daemon.journal.events("worker_init")[8:]
    assert {event["worker"] for event in replaced} == {f"worker-{n}" for n in range(1, 9)}
    daemon.stop()


def test_the_other_workers_go_on_while_one_is_replaced(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--processes", "2", "--in-worker_init", "wait_for_gate")
    daemon.journal.open_gate()
    daemon.wait_for_threads("unit", 2)
    daemon.journal.close_gate()
    victim, other = sorted(daemon.workers)
    os.kill(victim, signal.SIGKILL)
    daemon.wait_for("worker_init", 3)
    done = len(daemon.journal.events("unit", pid=other))
    daemon.wait_for("unit", done + 5, pid=other)
    assert len({event["pid"] for event in daemon.journal.events("unit")}) == 2
    daemon.journal.open_gate()
    daemon.wait_for_threads("unit", 3)
    daemon.stop()


def kill_worker_during_drain(daemon: Daemon) -> int:
    daemon.wait_for("started", 2)
    victim: int = daemon.journal.events("worker_init", worker="worker-1")[0]["worker_pid"]
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("draining")
    os.kill(victim, signal.SIGKILL)
    daemon.wait_for("worker_died", worker_pid=victim)
    daemon.journal.open_gate()
    daemon.process.wait(TIMEOUT)
    return victim


def test_a_worker_that_dies_while_it_drains_is_not_replaced_and_the_others_finish(
    start_work: StartDaemon, database: Database
) -> None:
    daemon = start_work(database, "hold", "--processes", "2")
    victim = kill_worker_during_drain(daemon)
    daemon.assert_nothing_left()
    assert len(daemon.journal.events("worker_init")) == 2
    (finished,) = daemon.journal.events("finished")
    assert finished["pid"] != victim


def test_a_worker_that_dies_while_it_drains_is_named_in_the_log(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "hold", "--processes", "2")
    victim = kill_worker_during_drain(daemon)
    assert daemon.log_lines("worker-1", str(victim), "SIGKILL")


def test_a_drain_that_cut_a_unit_off_does_not_end_with_success(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "hold", "--processes", "2")
    kill_worker_during_drain(daemon)
    assert daemon.process.returncode != 0


def test_term_while_a_replacement_is_due_ends_the_daemon_without_it(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle")
    for number in (1, 2, 3):  # the first one is replaced at once, the third in a second or two
        daemon.wait_for("unit", pid=daemon.wait_for("worker_init", number)[-1]["pid"])
        (worker,) = daemon.workers
        os.kill(worker, signal.SIGKILL)
        daemon.wait_for("worker_died", number)
    daemon.stop()
    assert len(daemon.journal.events("worker_init")) == 3


def kill_supervisor(daemon: Daemon) -> float:
    """Returns the seconds until its workers were gone as well."""
    workers = daemon.workers
    assert workers
    killed = time.monotonic()
    daemon.process.kill()
    daemon.process.wait()
    wait_until(
        lambda: not any(map(processes.is_alive, workers)),
        TIMEOUT,
        "workers outlive their supervisor",
    )
    taken = time.monotonic() - killed
    daemon.assert_nothing_left()
    return taken


@pytest.mark.parametrize("unit", ["ask", "hold", "wait"])
def test_workers_are_gone_soon_after_their_supervisor_was_killed(
    start_daemon: StartDaemon, database: Database, unit: str
) -> None:
    def orphaned_for() -> float:
        daemon = start_daemon(database, unit, "--processes", "3", "--threads", "2")
        daemon.wait_for_threads("asked" if unit == "ask" else "started", 6)
        return kill_supervisor(daemon)

    assert_within(ORPHANS_GONE, orphaned_for)


def test_a_worker_that_is_booting_is_gone_soon_after_its_supervisor_was_killed(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    def orphaned_for() -> float:
        daemon = start_work(sqlite, "idle", "--in-worker_init", "wait_for_gate")
        daemon.wait_for("worker_init")
        return kill_supervisor(daemon)

    assert_within(ORPHANS_GONE, orphaned_for)


def test_a_worker_in_its_last_hook_is_gone_soon_after_its_supervisor_was_killed(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    def orphaned_for() -> float:
        daemon = start_work(sqlite, "idle", "--in-worker_exit", "wait_for_gate")
        daemon.wait_for("unit")
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("worker_exit")
        return kill_supervisor(daemon)

    assert_within(ORPHANS_GONE, orphaned_for)
