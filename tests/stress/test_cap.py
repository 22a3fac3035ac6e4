"""The hard cap against everything at once, on an account that the server limits to exactly it.

STRESS_SECONDS=60 makes it longer; --log-cli-level=INFO tells what happened.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connections
from MySQLdb import Error as DriverError

from pooldaemon.stats import BOUNDS
from tests.mysql.scratch import Scratch
from tests.stress.conftest import MakeScratch
from tests.stress.load import UNITS, Failure, Load, WrongResult
from tests.support.server import Session
from tests.unit.databases import AddDatabase

logger = logging.getLogger(__name__)

# From 3.12 on Python warns of what is done here on purpose.
FORKING = "ignore:.*multi-threaded, use of fork:DeprecationWarning"
pytestmark = [pytest.mark.mysql, pytest.mark.timeout(0), pytest.mark.filterwarnings(FORKING)]

SECONDS = float(os.environ.get("STRESS_SECONDS", "10"))
KILL_TAKES = 0.1  # seconds until the killed session's socket tells
CAP = 6
LEAST = 2
THREADS = 32

KILLED = {1053, 1317, 1927, 2006, 2013, 2055}
LOCKED = {3118, 4151}  # what MySQL and MariaDB say of a locked account
REFUSED = {1040, 1203, 1226}


@dataclass
class Trouble:
    """Makes trouble, and keeps a record of it: what a borrower may complain of."""

    scratch: Scratch
    alias: str
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    kills: list[tuple[float, int]] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    children: int = 0
    most: list[Session] = field(default_factory=list)

    def explains(self, failure: Failure) -> bool:
        if failure.code in LOCKED:
            return any(
                start <= failure.ended and failure.started <= end for start, end in self.outages
            )
        # MariaDB may answer a killed DELETE with "0 rows".
        if failure.code not in KILLED and not isinstance(failure.error, WrongResult):
            return False
        # One that failed while it connected doesn't know which session it was to have. A session
        # killed long before should not have been handed out.
        return any(
            session == failure.session or not failure.session
            for moment, session in self.kills
            if failure.started - KILL_TAKES <= moment <= failure.ended
        )

    def look(self) -> list[int]:
        sessions = self._alive()
        patience = time.monotonic() + 1
        while len(sessions) > CAP and time.monotonic() < patience:
            # One on its way out is listed for a moment after its socket was closed, and nobody but
            # the server can tell; a real one too many is still there when we look again.
            still = {one.id for one in self._alive()}
            sessions = [one for one in sessions if one.id in still]
        self.most = max(self.most, sessions, key=len)
        return [session.id for session in sessions]

    def _alive(self) -> list[Session]:
        # A killed one has lost its socket already.
        return [one for one in self.scratch.sessions() if one.command != "Killed"]

    def kill(self, how: str) -> None:
        if sessions := self.look():
            victim = self.chance.choice(sessions)
            self.kills.append((time.monotonic(), victim))
            with suppress(DriverError):  # it was gone already
                self.scratch.admin.query(f"KILL {how} {victim}")

    def close_pool(self) -> None:
        connections[self.alias].close_pool()  # type: ignore[attr-defined]

    def resize(self) -> None:
        pool = connections[self.alias].pool  # type: ignore[attr-defined]
        size = self.chance.randint(LEAST, CAP)
        pool.resize(size, self.chance.choice([0, CAP - size]))

    def fork(self) -> None:
        self.children += 1
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    def lock_account(self) -> None:
        """Connects fail for a moment, which is announced."""
        user, started = f"'{self.scratch.account.user}'@'%'", time.monotonic()
        self.outages.append((started, float("inf")))
        self.scratch.admin.query(f"ALTER USER {user} ACCOUNT LOCK")
        try:
            self.close_pool()
            deadline = time.monotonic() + 0.1
            while time.monotonic() < deadline:
                self.look()
        finally:
            self.scratch.admin.query(f"ALTER USER {user} ACCOUNT UNLOCK")
        self.outages[-1] = (started, time.monotonic())

    def make(self) -> None:
        does: list[tuple[int, Callable[[], Any]]] = [
            (500, self.look),
            (25, lambda: self.kill("CONNECTION")),
            (25, lambda: self.kill("QUERY")),
            (10, self.close_pool),
            (15, self.resize),
            (8, self.fork),
            (1, self.lock_account),
        ]
        weights, actions = zip(*does, strict=True)
        self.chance.choices(actions, weights)[0]()


def test_nobody_is_refused_or_sees_anothers_error(
    add_database: AddDatabase, make_scratch: MakeScratch
) -> None:
    scratch = make_scratch(limits=f"WITH MAX_USER_CONNECTIONS {CAP}")
    alias = add_database(
        **scratch.account.settings(OPTIONS={"pool": {"pool_size": CAP, "timeout": 30}})
    )
    trouble = Trouble(scratch, alias)
    before = threading.active_count()
    with Load(alias, UNITS, THREADS) as load:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            trouble.make()
        connections[alias].pool.resize(CAP)  # type: ignore[attr-defined]
    unexplained = [str(one) for one in load.failures if not trouble.explains(one)]
    assert unexplained == []
    assert [one for one in load.failures if one.code in REFUSED] == []
    assert len(trouble.most) <= CAP, trouble.most
    assert connections[alias].pool.stats().peak <= CAP  # type: ignore[attr-defined]
    stats = connections[alias].pool.stats()  # type: ignore[attr-defined]
    assert (stats.in_use, stats.waiting, stats.timeouts) == (0, 0, 0)
    # At worst all others are served before, by LEAST connections, each in some tenths of a second.
    longest = BOUNDS.index(5.0)
    assert sum(stats.wait.counts[longest + 1 :]) == 0, stats.wait
    assert load.longest_wait < 10, "connecting included"
    # It was no idyll.
    assert load.done > 20 * SECONDS
    assert trouble.kills
    assert trouble.children
    assert threading.active_count() <= before + 1
    locked_out = sum(one.code in LOCKED for one in load.failures)
    logger.info(
        "%d units, %d hit by a KILL, %d while locked out, %d kills, %d outages, %d forks,"
        " %d connects, at most %d sessions, longest wait %.2f s, longest hold %.2f s",
        load.done,
        len(load.failures) - locked_out,
        locked_out,
        len(trouble.kills),
        len(trouble.outages),
        trouble.children,
        stats.connects,
        len(trouble.most),
        load.longest_wait,
        load.longest_hold,
    )


def test_a_session_abandoned_in_the_middle_of_a_statement_counts_until_it_ends(
    add_database: AddDatabase, make_scratch: MakeScratch
) -> None:
    scratch = make_scratch()
    pool = {"pool_size": 1, "timeout": 10}
    alias = add_database(**scratch.account.settings(OPTIONS={"read_timeout": 1, "pool": pool}))
    connection = connections[alias]
    with pytest.raises(Exception, match="Lost connection"), connection.cursor() as cursor:
        cursor.execute("SELECT SLEEP(3)")
    connection.close()
    stats = connection.pool.stats()  # type: ignore[attr-defined]
    assert (stats.total, stats.idle) == (1, 0)
    with connection.cursor() as cursor:
        assert len(scratch.sessions()) == 1
        cursor.execute("SELECT 1")
    connection.close()
