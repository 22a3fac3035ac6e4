"""What an idle daemon costs its server, and what becomes of it when the server does not answer."""

import signal
import time

from django.conf import settings

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT
from tests.lifecycle.databases import MySQLDatabase
from tests.support.poll import wait_until
from tests.support.server import Server

PROCESSES, THREADS, INTERVAL = 2, 3, 0.5
MEASURED = 3.0  # seconds
KILLED = 4
SIZE = ("--processes", str(PROCESSES), "--threads", str(THREADS))


def test_an_idle_daemon_asks_once_per_thread_and_interval_and_connects_no_more(
    start_daemon: StartDaemon, server: Server, on_server: MySQLDatabase
) -> None:
    # One session per worker: threads that meet would else open another one, at any time.
    options = ("--max-connections", "1", "--idle-interval", str(INTERVAL))
    daemon = start_daemon(on_server, "ask", *SIZE, *options)
    daemon.wait_for_threads("asked", PROCESSES * THREADS)
    names = ("Connections", "Com_admin_commands", "Questions")
    before = {name: server.admin.status(name) for name in names}
    noted = len(daemon.journal.events("asked"))
    began = time.monotonic()
    wait_until(lambda: time.monotonic() >= began + MEASURED, MEASURED + 1, "time to pass")
    after = {name: server.admin.status(name) for name in reversed(names)}
    lasted = time.monotonic() - began
    asked = after["Questions"] - before["Questions"] - 1  # ours
    # Each thread may look once at either end of the time measured.
    noted = len(daemon.journal.events("asked")) - noted
    assert abs(asked - noted) <= PROCESSES * THREADS
    assert 0 < asked <= PROCESSES * THREADS * (lasted / INTERVAL + 1)
    assert after["Connections"] == before["Connections"]
    assert after["Com_admin_commands"] == before["Com_admin_commands"]
    daemon.stop()


def test_a_drained_daemon_takes_leave_of_the_server(
    start_daemon: StartDaemon, server: Server, on_server: MySQLDatabase
) -> None:
    daemon = start_daemon(on_server, "ask", *SIZE)
    daemon.wait_for_threads("asked", PROCESSES * THREADS)
    daemon.stop()
    assert server.admin.status("Aborted_clients") == 0


def test_a_daemon_recovers_by_itself_when_its_server_is_back(
    start_work: StartDaemon, server: Server, on_server: MySQLDatabase
) -> None:
    daemon = start_work(on_server, "ask", *SIZE)
    daemon.wait_for_threads("asked", PROCESSES * THREADS)
    server.stop()
    daemon.wait_for_log("a unit of work failed")
    server.start()
    back = time.monotonic()

    def threads_back() -> set[tuple[int, str]]:
        events = daemon.journal.events("asked")
        return {(e["pid"], e["thread"]) for e in events if e["time"] > back}

    wait_until(
        lambda: len(threads_back()) == PROCESSES * THREADS, TIMEOUT, "every thread at work again"
    )
    assert daemon.journal.events("worker_died") == []
    assert len(daemon.journal.events("worker_init")) == PROCESSES
    daemon.stop()


def test_a_daemon_whose_server_hangs_ends_within_the_graceful_timeout(
    start_daemon: StartDaemon, server: Server, on_server: MySQLDatabase
) -> None:
    daemon = start_daemon(on_server, "ask", *SIZE, "--graceful-timeout", "1")
    daemon.wait_for_threads("asked", PROCESSES * THREADS)
    server.pause()
    answered = daemon.journal.events("asked")[-1]["time"]
    # No thread has had an answer for so long: each is in a query now.
    wait_until(lambda: time.monotonic() > answered + 1, TIMEOUT, "units that wait for the server")
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(TIMEOUT) == KILLED
    server.resume()
    daemon.assert_nothing_left()


def test_a_server_that_is_away_at_the_hand_over_of_a_reload_ends_no_daemon(
    start_work: StartDaemon, server: Server, on_server: MySQLDatabase
) -> None:
    # Which has a UUIDField: Django's checks ask the server what that is.
    apps = ["pooldaemon", "tests.lifecycle.project", "pooldaemon_example.webhooks"]
    webhooks = {name: getattr(settings, name) for name in dir(settings) if "WEBHOOK_" in name}
    daemon = start_work(
        on_server, "ask", *SIZE, faults={"hand_over": "hang"}, INSTALLED_APPS=apps, **webhooks
    )
    daemon.wait_for_threads("asked", PROCESSES * THREADS)
    old = daemon.workers
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_fault("hand_over")
    server.stop()
    daemon.release("hand_over")
    daemon.wait_for_log("could not start")
    server.start()
    daemon.wait_for_log("reload: done")
    assert not daemon.workers & old
    daemon.stop()
