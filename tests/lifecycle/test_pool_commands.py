"""pause, resume, reconnect and resize on a daemon that works, and the server's word for it."""

import os
import signal
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from pooldaemon.testing import wait_until
from pooldaemon.testing.daemon import TIMEOUT
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import Daemon
from tests.lifecycle.databases import Database, MySQLDatabase, SQLiteDatabase

PIDFILE = ("--pidfile", "shop.pid")


def command(daemon: Daemon, verb: str, *words: str) -> str:
    """Run the command; returns what it says."""
    out = StringIO()
    call_command("pooldaemon", verb, *words, "--directory", str(daemon.directory), stdout=out)
    return out.getvalue()


def pools(daemon: Daemon) -> list[dict[str, Any]]:
    return [pool for worker in daemon.status()["workers"] for pool in worker["pools"]]


def wait_for_pools(
    daemon: Daemon, number: int, condition: Callable[[dict[str, Any]], bool] = bool
) -> None:
    wait_until(
        lambda: sum(condition(pool) for pool in pools(daemon)) == number, TIMEOUT, "no such pools"
    )


def workers_ready(daemon: Daemon) -> int:
    return sum(worker["state"] == "ready" for worker in daemon.status()["workers"])


@pytest.mark.mysql
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_paused_daemon_has_no_session_and_loses_no_unit_whoever_is_replaced_meanwhile(
    start_daemon: StartDaemon, mysql: MySQLDatabase, mode: str
) -> None:
    mysql.settings["OPTIONS"]["pool"] = {"mode": mode, "timeout": 0.3}
    daemon = start_daemon(
        mysql, "use_connection", *PIDFILE, "--processes", "2", "--threads", "4", "--retries", "0"
    )
    daemon.wait_for_threads("used", 8)
    said = command(daemon, "pause")
    assert said.splitlines()[-1] == "shop: all connections are closed"
    for name in ("worker-1", "worker-2"):
        assert f"{name}: paused mysql " in said
    assert mysql.sessions() == []
    used = len(daemon.journal.events("used"))

    os.kill(min(daemon.workers), signal.SIGKILL)
    wait_until(lambda: daemon.status()["restarts"] == 1, TIMEOUT, "nobody came after the dead")
    daemon.signal(signal.SIGTTIN)
    wait_until(lambda: workers_ready(daemon) == 3, TIMEOUT, "the new workers are not ready")
    assert mysql.sessions() == []
    # In transaction mode, who has returned its connection may not have noted its unit yet.
    assert len(daemon.journal.events("used")) <= used + 8
    assert daemon.status()["standing"] == [{"verb": "pause", "pool": None, "size": None}]

    assert "worker-3: resumed mysql " in command(daemon, "resume")
    daemon.wait_for("used", used + 30)
    wait_until(lambda: len(mysql.sessions()) == 12, TIMEOUT, "not every thread works again")
    # A thread that was on its way to a connection may have waited in vain, once.
    assert daemon.status()["failures"] <= 8
    daemon.stop()


def test_pause_waits_for_what_is_in_use_and_says_who_has_it(
    start_daemon: StartDaemon, database: Database
) -> None:
    daemon = start_daemon(database, "hold", *PIDFILE)
    daemon.wait_for("started")
    with pytest.raises(CommandError) as refused:
        command(daemon, "pause", "default", "--wait", "0.2")
    first, second = str(refused.value).splitlines()
    assert first == "shop: paused, but after 0.2 s 1 connection is still open."
    assert second.startswith("worker-1/thread-1 for ")
    assert "tests/lifecycle/project/units.py:" in second
    assert "paused" in command(daemon, "pause", "--wait", "0")
    out = StringIO()
    pidfile = str(daemon.directory / PIDFILE[1])
    call_command("rundaemon", "status", "--pidfile", pidfile, stdout=out)
    assert "\npaused in 1 worker: " in out.getvalue()
    daemon.journal.open_gate()
    assert "shop: all connections are closed" in command(daemon, "pause")
    assert len(daemon.journal.events("finished")) == 1
    daemon.stop()


@pytest.mark.mysql
def test_what_stands_survives_a_reload_and_the_server_counts_what_resize_says(
    start_daemon: StartDaemon, mysql: MySQLDatabase
) -> None:
    # Units that were in the queue when the pool was paused end by this.
    mysql.settings["OPTIONS"]["pool"] = {"timeout": 1}
    daemon = start_daemon(mysql, "use_connection", *PIDFILE, "--threads", "4")
    daemon.wait_for_threads("used", 4)
    wait_until(lambda: len(mysql.sessions()) == 4, TIMEOUT, "not every thread has a session")
    assert command(daemon, "resize", "2", "default").startswith("worker-1: resized mysql ")
    wait_until(lambda: len(mysql.sessions()) == 2, TIMEOUT, "sessions are left")
    command(daemon, "pause")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("reload: done")
    wait_for_pools(daemon, 1, lambda pool: pool["paused"] and pool["cap"] == 2)
    assert mysql.sessions() == []
    status = daemon.status()
    assert (status["restarts"], status["workers"][0]["restarts"]) == (1, 1)
    before = status["units"]
    command(daemon, "resume", "default")
    wait_until(lambda: daemon.status()["units"] > before + 20, TIMEOUT, "no unit is done")
    wait_until(lambda: len(mysql.sessions()) == 2, TIMEOUT, "not the size of before the reload")
    daemon.stop()


@pytest.mark.mysql
def test_reconnect_replaces_every_session_and_no_unit_fails(
    start_daemon: StartDaemon, mysql: MySQLDatabase
) -> None:
    daemon = start_daemon(mysql, "use_connection", *PIDFILE, "--threads", "2")
    daemon.wait_for_threads("used", 2)
    before = {session.id for session in mysql.sessions()}
    assert "closed the idle connections of" in command(daemon, "reconnect")

    def replaced() -> bool:
        now = {session.id for session in mysql.sessions()}
        return len(now) == 2 and now.isdisjoint(before)

    wait_until(replaced, TIMEOUT, "old sessions stay")
    assert daemon.status()["failures"] == 0
    daemon.stop()


def test_status_has_pools_units_and_who_has_a_connection(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_daemon(sqlite, "hold", *PIDFILE, "--threads", "2")
    daemon.wait_for("started", 2)
    wait_for_pools(daemon, 1, lambda pool: len(pool["holders"]) == 2)
    status = daemon.status()
    (worker,) = status["workers"]
    (pool,) = worker["pools"]
    assert (pool["alias"], pool["in_use"], pool["paused"]) == ("default", 2, False)
    assert {unit["thread"] for unit in worker["running"]} == {
        "worker-1/thread-1",
        "worker-1/thread-2",
    }
    assert all(unit["seconds"] >= 0 for unit in worker["running"])
    assert (status["name"], status["restarts"], status["units"]) == ("rundaemon", 0, 0)
    daemon.journal.open_gate()
    daemon.wait_for("finished", 2)
    daemon.stop()


def test_a_mistake_is_one_line_with_the_nearest(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    daemon = start_daemon(sqlite, "idle", *PIDFILE)
    daemon.wait_for("unit")
    for words, said in (
        (("pause", "defalt"), "shop: there is no pool 'defalt'. Did you mean 'default'? Valid: "),
        (("resize", "0"), "shop: the size is 0; it must be a whole number from 1 to 100000"),
        (("pause", "--wait", "-1"), "--wait is -1; it must be a number of seconds from 0 to "),
        (("pause", "--daemon", "shopp"), "--daemon shopp: no such daemon. Did you mean 'shop'?"),
    ):
        with pytest.raises(CommandError) as refused:
            command(daemon, *words)
        assert str(refused.value).startswith(said)
        assert len(str(refused.value).splitlines()) == 1
    assert daemon.status()["standing"] == []
    daemon.stop()
