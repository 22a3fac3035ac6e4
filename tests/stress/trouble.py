"""Kills, forks, closed pools and the like, at random, and what they explain."""

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from MySQLdb import Error as DriverError

from tests.mysql.scratch import Scratch
from tests.stress.load import Failure, WrongResult
from tests.support.server import Session

# From 3.12 on Python warns of what is done here on purpose.
FORKING = "ignore:.*multi-threaded, use of fork:DeprecationWarning"

KILL_TAKES = 0.1  # seconds until the killed session's socket shows it
LEAST = 2  # connections that a pool is resized to

KILLED = {1053, 1317, 1927, 2006, 2013, 2055}
LOCKED = {3118, 4151}  # what MySQL and MariaDB say of a locked account


@dataclass
class Trouble:
    """Makes trouble, and keeps a record of it: what a borrower may complain of."""

    scratch: Scratch
    alias: str
    cap: int
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
        while len(sessions) > self.cap and time.monotonic() < patience:
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
        connections[self.alias].pool.close()  # type: ignore[attr-defined]

    def resize(self) -> None:
        pool = connections[self.alias].pool  # type: ignore[attr-defined]
        size = self.chance.randint(LEAST, self.cap)
        pool.resize(size, self.chance.choice([0, self.cap - size]))

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

    def weighted(self) -> list[tuple[int, Callable[[], Any]]]:
        """What there is to do, and how often."""
        return [
            (500, self.look),
            (25, lambda: self.kill("CONNECTION")),
            (25, lambda: self.kill("QUERY")),
            (10, self.close_pool),
            (15, self.resize),
            (8, self.fork),
            (1, self.lock_account),
        ]

    def make(self) -> None:
        weights, actions = zip(*self.weighted(), strict=True)
        self.chance.choices(actions, weights)[0]()
