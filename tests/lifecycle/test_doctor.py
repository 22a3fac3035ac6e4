"""The doctor looks at a daemon that works."""

import json
import signal
from io import StringIO

import pytest
from django.core.management import call_command

from pooldaemon.testing import wait_until
from pooldaemon.testing.daemon import TIMEOUT
from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.databases import SQLiteDatabase


@pytest.mark.django_db  # it looks at this process's databases as well
def test_a_pool_that_is_too_small_for_a_daemons_threads_is_named(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    sqlite.settings["OPTIONS"] = {"pool": {"timeout": 0.1}}
    # Less than two threads for each: a slow machine's times do not suggest transaction mode.
    limits = ("--threads", "3", "--max-connections", "2")
    daemon = start_daemon(sqlite, "hold", "--pidfile", "shop.pid", *limits)

    def timeouts() -> int:
        pools = [pool for worker in daemon.status()["workers"] for pool in worker["pools"]]
        return sum(pool["timeouts"] for pool in pools)

    daemon.wait_for("started")
    wait_until(timeouts, TIMEOUT, "nobody gives up")
    out = StringIO()
    with pytest.raises(SystemExit) as raised:
        call_command(
            "pooldaemon", "doctor", "--json", "--directory", str(daemon.directory), stdout=out
        )
    assert raised.value.code == 1
    (found,) = (one for one in json.loads(out.getvalue()) if one["id"] == "pooldaemon.D006")
    assert found["where"].startswith("shop, pool sqlite ")
    assert "With 2 connections in a worker" in found["found"]
    assert found["advice"].startswith("Set --max-connections so that a worker has 3 connections")
    daemon.journal.open_gate()
    daemon.signal(signal.SIGTERM)
    daemon.assert_clean_end()
