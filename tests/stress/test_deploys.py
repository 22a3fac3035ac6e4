"""Releases behind a link, deployed by a reload under constant load. DEPLOYS=50 makes it many."""

import logging
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest

from tests.lifecycle.daemon import TIMEOUT
from tests.lifecycle.releases import DeployedDaemon, Site
from tests.stress.deliveries import (
    PATIENT,
    AttemptReceiver,
    Deliveries,
    DeliveryDaemon,
    noted_attempts,
)
from tests.stress.test_restarts import OPTIONS, constant_load
from tests.support.poll import wait_until
from tests.support.server import Admin
from tests.unit.databases import AddDatabase

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.once, pytest.mark.mysql, pytest.mark.lifecycle, pytest.mark.timeout(0)]

DEPLOYS = int(os.environ.get("DEPLOYS", "1"))

RELEASE = """\
from tests.lifecycle.project.journal import journal
from tests.stress.deliver_and_note import deliver


def unit(ctx):
    journal().note("unit", release={number})
    return deliver(ctx)
"""


class DeployedDeliveries(DeployedDaemon, DeliveryDaemon):
    """The example's daemon, with a unit of the current release."""

    webhook = PATIENT


def test_deploys_under_load_interrupt_no_unit_and_return_when_all_run_the_new_release(
    database_admin: Admin, add_database: AddDatabase, tmp_path: Path
) -> None:
    site = Site(tmp_path / "site", module=RELEASE)
    site.deploy(0)
    pidfile = tmp_path / "pid"
    commands: list[DeployedDeliveries] = []

    def run(action: str, *options: str) -> DeployedDeliveries:
        command = DeployedDeliveries(
            tmp_path / f"command-{len(commands)}",
            deliveries.database,
            [sys.executable, "manage.py"],
            ["rundaemon", action, *options, f"--pidfile={pidfile}"],
            cwd=site.current,
        )
        commands.append(command)
        return running.enter_context(command)

    receiver = AttemptReceiver(latency=0.05)
    with (
        Deliveries(os.environ["DATABASE_URL"], lambda: database_admin, add_database) as deliveries,
        receiver.serving(),
        ExitStack() as running,
        constant_load(deliveries, receiver.url),
    ):
        daemon = run("run", "release.unit", *OPTIONS)
        daemon.wait_for("recorded", 20)
        seconds = []
        for number in range(1, DEPLOYS + 1):
            before, began = daemon.workers, time.monotonic()
            site.deploy(number)
            command = run("reload")
            assert command.process.wait(3 * TIMEOUT) == 0, command.err + daemon.err
            seconds.append(time.monotonic() - began)
            returned = time.monotonic()
            site.remove(number - 1)
            assert before.isdisjoint(daemon.workers)
            daemon.wait_for("unit", release=number)
            wait_until(
                lambda returned=returned: daemon.journal.events("unit")[-1]["time"] > returned,
                TIMEOUT,
                "units go on",
            )
            late = [e for e in daemon.journal.events("unit") if e["time"] > returned]
            assert {event["release"] for event in late} == {number}
            assert deliveries.pending() > 0
        daemon.wait_for("recorded", len(daemon.journal.events("recorded")) + 20)
        daemon.stop()
        assert daemon.broken_workers() == set()
        assert daemon.journal.events("no answer") == []
        attempts = noted_attempts(daemon)
        assert {number for _, number in attempts} == {1}
        assert all(attempt.recorded for attempt in attempts.values())
        assert {delivery for delivery, _ in attempts} == deliveries.delivered()
        assert receiver.attempts == {delivery: [1] for delivery, _ in attempts}
    logger.info(
        "%d deploys, %d deliveries, a deploy took %.1f s",
        DEPLOYS,
        len(attempts),
        median(seconds),
    )
