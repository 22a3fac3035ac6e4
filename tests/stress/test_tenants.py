"""Many tenants under one limit, on an account that the server limits to exactly it.

STRESS_SECONDS=60 makes it longer; --log-cli-level=INFO shows what happened.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connections, transaction
from pytest_django import Settings

from pooldaemon import auto_close_db, pool_stats, use_database
from tests.mysql.scratch import Scratch
from tests.stress.conftest import MakeScratch
from tests.stress.load import expect, fetch
from tests.support.server import Session
from tests.unit.databases import AddDatabase
from tests.unit.fakes import Task

logger = logging.getLogger(__name__)

pytestmark = pytest.mark.mysql

SECONDS = float(os.environ.get("STRESS_SECONDS", "3"))
LIMIT = 10
TENANTS = 20
THREADS = 16
JOIN_TIMEOUT = 60.0


@dataclass
class Town:
    """The tenants' databases, each of which knows whose it is."""

    alias: str
    scratch: Scratch
    done: int = 0
    longest: float = 0.0
    most: list[Session] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def name(self, tenant: int) -> str:
        return f"{self.scratch.account.name}t{tenant}"

    def visit(self, tenant: int, chance: random.Random) -> None:
        started = time.monotonic()
        with use_database(self.alias, NAME=self.name(tenant)):
            expect(self._read(), (tenant, self.name(tenant)))
            self._lap(started)
            if chance.random() < 0.3:
                with transaction.atomic(using=self.alias):
                    expect(self._read(), (tenant, self.name(tenant)))
            if chance.random() < 0.3:
                connections[self.alias].close()  # and borrow once more
                expect(self._read(), (tenant, self.name(tenant)))

    def _read(self) -> Any:
        return fetch(connections[self.alias], "SELECT tenant, DATABASE() FROM whose")

    def _lap(self, started: float) -> None:
        with self._lock:
            self.done += 1
            self.longest = max(self.longest, time.monotonic() - started)

    def look(self) -> None:
        sessions = self._alive()
        patience = time.monotonic() + 1
        while len(sessions) > LIMIT and time.monotonic() < patience:
            # One on its way out is listed for a moment after its socket was closed.
            still = {one.id for one in self._alive()}
            sessions = [one for one in sessions if one.id in still]
        self.most = max(self.most, sessions, key=len)

    def _alive(self) -> list[Session]:
        return [one for one in self.scratch.sessions() if one.command != "Killed"]

    def log_results(self, what: str) -> None:
        logger.info(
            "%s: %d units, at most %d sessions, %d connects, longest wait %.2f s, %d pools",
            what,
            self.done,
            len(self.most),
            sum(stats.connects for stats in pool_stats()),
            self.longest,
            len(pool_stats()),
        )


@contextmanager
def databases(town: Town) -> Iterator[None]:
    admin, user = town.scratch.admin, town.scratch.account.user
    names = [town.name(tenant) for tenant in range(TENANTS)]
    try:
        for tenant, name in enumerate(names):
            admin.query(f"CREATE DATABASE {name}")
            admin.query(f"CREATE TABLE {name}.whose ENGINE=InnoDB SELECT {tenant} AS tenant")
            admin.query(f"GRANT ALL ON {name}.* TO '{user}'@'%'")
        yield
    finally:
        for name in names:
            admin.query(f"DROP DATABASE IF EXISTS {name}")


@pytest.fixture
def town(
    add_database: AddDatabase,
    make_scratch: MakeScratch,
    settings: Settings,
    request: pytest.FixtureRequest,
) -> Iterator[Town]:
    max_pools = getattr(request, "param", 100)
    settings.POOLDAEMON = {"MAX_PROCESS_CONNECTIONS": LIMIT, "MAX_POOLS": max_pools}
    scratch = make_scratch(limits=f"WITH MAX_USER_CONNECTIONS {LIMIT}")
    alias = add_database(**scratch.account.settings(OPTIONS={"pool": {"timeout": 30}}))
    town = Town(alias, scratch)
    with databases(town):
        yield town


def crowd(threads: int, work: Callable[[random.Random], None], look: Callable[[], None]) -> None:
    """Repeat *work* in so many threads for some seconds, and raise what it raised."""
    end = time.monotonic() + SECONDS

    def run(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end:
            work(chance)

    tasks = [Task(run, seed) for seed in range(threads)]
    while any(task.is_alive() for task in tasks) and time.monotonic() < end + JOIN_TIMEOUT:
        look()
    for task in tasks:
        task.result()


@pytest.mark.parametrize("town", [100, 5], ids="max_pools={}".format, indirect=True)
def test_every_thread_sees_its_tenant_and_the_server_never_one_session_too_many(
    town: Town,
) -> None:
    def round_trip(chance: random.Random) -> None:
        for tenant in chance.sample(range(TENANTS), TENANTS):
            town.visit(tenant, chance)

    crowd(THREADS, round_trip, town.look)
    town.log_results("random order")
    assert len(town.most) <= LIMIT
    assert town.done > 20 * SECONDS
    assert sum(stats.in_use + stats.waiting for stats in pool_stats()) == 0


def test_one_thread_that_goes_from_tenant_to_tenant(town: Town) -> None:
    chance = random.Random(1)
    for number in range(5 * TENANTS):
        with auto_close_db():
            town.visit(number % TENANTS, chance)
        if number % 10 == 0:
            town.look()
    town.log_results("one thread")
    assert len(town.most) <= LIMIT


def test_a_busy_tenant_does_not_keep_another_waiting(town: Town) -> None:
    waits: list[float] = []

    def hog(chance: random.Random) -> None:
        town.visit(0, chance)

    def rare(chance: random.Random) -> None:
        started = time.monotonic()
        town.visit(1 + chance.randrange(3), chance)
        waits.append(time.monotonic() - started)

    number = iter(range(3 * THREADS))
    first = threading.local()

    def work(chance: random.Random) -> None:
        if not hasattr(first, "role"):
            first.role = rare if next(number) == 0 else hog
        first.role(chance)

    crowd(2 * THREADS, work, town.look)
    town.log_results("busy tenant")
    logger.info("the rare tenants: %d visits, longest %.2f s", len(waits), max(waits))
    # A tenth of its share, at least: its tenants want a new connection each time.
    assert len(waits) > town.done / (2 * THREADS) / 10
    assert max(waits) < 5
