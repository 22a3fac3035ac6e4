"""Workers for which the system has too few threads."""

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.databases import SQLiteDatabase


def test_a_worker_goes_on_with_the_threads_that_it_has_and_starts_the_others_later(
    start_work: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_work(sqlite, "idle", "--threads=4", "--in-worker_init=refuse_threads")
    daemon.wait_for_threads("unit", 2)
    daemon.wait_for_log("worker-1: works with 2 of 4 threads: can't start new thread")
    daemon.journal.open_gate()
    daemon.wait_for_threads("unit", 4)
    daemon.wait_for_log("worker-1: works with all 4 threads now")
    # Nor is there one for the heartbeats during the last hook.
    daemon.stop()
    (death,) = daemon.journal.events("worker_died")
    assert (death["status"], death["error"]) == (0, None)
    assert len(daemon.journal.events("worker_exit", worker="worker-1")) == 1
    assert len(daemon.log_lines("tries again")) == 1
