"""Deploys under constant load. RESTARTS=100 makes it many."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from pooldaemon.management.actions import socket_of
from pooldaemon.workers.ipc.control import ask
from tests.lifecycle.daemon import TIMEOUT
from tests.stress.deliveries import (
    PATIENT,
    AttemptReceiver,
    Deliveries,
    DeliveryDaemon,
    noted_attempts,
)
from tests.support.poll import wait_until
from tests.support.server import Admin
from tests.unit.databases import AddDatabase

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.once, pytest.mark.mysql, pytest.mark.lifecycle, pytest.mark.timeout(0)]

RESTARTS = int(os.environ.get("RESTARTS", "2"))
BACKLOG = 300
REFILL = 0.2  # seconds
OPTIONS = ("--processes=2", "--threads=4", "--max-connections=2", "--idle-interval=0.2")


class PatientDaemon(DeliveryDaemon):
    webhook = PATIENT


@contextmanager
def constant_load(deliveries: Deliveries, url: str) -> Iterator[None]:
    end = threading.Event()

    def fill() -> None:
        while not end.is_set():
            deliveries.fill(BACKLOG, url)
            end.wait(REFILL)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_restarts_under_load_interrupt_no_unit_and_return_when_new_workers_are_ready(
    database_admin: Admin, add_database: AddDatabase, tmp_path: Path
) -> None:
    pidfile = tmp_path / "daemon.pid"
    daemons: list[DeliveryDaemon] = []

    def act(action: str, target: str = "tests.stress.deliver_and_note.deliver") -> DeliveryDaemon:
        arguments = ["rundaemon", action, target] if target else ["rundaemon", action]
        arguments += [*OPTIONS, f"--pidfile={pidfile}", f"--logfile={tmp_path / 'log'}"]
        directory = tmp_path / f"command-{len(daemons)}"
        daemons.append(PatientDaemon(directory, deliveries.database, arguments))
        running.enter_context(daemons[-1])
        assert daemons[-1].process.wait(3 * TIMEOUT) == 0, daemons[-1].err
        return daemons[-1]

    def status() -> dict[str, Any]:
        return ask(socket_of(pidfile), "status")

    def workers(status: dict[str, Any]) -> set[int]:
        return {worker["pid"] for worker in status["workers"]}

    receiver = AttemptReceiver(latency=0.05)
    with (
        Deliveries(os.environ["DATABASE_URL"], lambda: database_admin, add_database) as deliveries,
        receiver.serving(),
        ExitStack() as running,
        constant_load(deliveries, receiver.url),
    ):
        daemon = act("start")
        seconds = []
        for _ in range(RESTARTS):
            daemon.wait_for("recorded", 20)
            before, old, began = workers(status()), daemon, time.monotonic()
            daemon = act("restart")
            seconds.append(time.monotonic() - began)
            answer = status()
            assert answer["ready"]
            assert len(workers(answer)) == 2
            assert before.isdisjoint(workers(answer))
            assert not old.members()
            assert deliveries.pending() > 0
        daemon.wait_for("recorded", 20)
        act("stop", "")
        wait_until(lambda: not daemon.members(), TIMEOUT, "processes are left")
        daemon.assert_nothing_left()
        assert [error for d in daemons for error in d.journal.events("no answer")] == []
        attempts = {key: value for d in daemons for key, value in noted_attempts(d).items()}
        assert {number for _, number in attempts} == {1}
        assert all(attempt.recorded for attempt in attempts.values())
        assert {delivery for delivery, _ in attempts} == deliveries.delivered()
        assert receiver.attempts == {delivery: [1] for delivery, _ in attempts}
    logger.info(
        "%d restarts, %d deliveries, a restart took %.1f s",
        RESTARTS,
        len(attempts),
        median(seconds),
    )
