"""Threads that move money between accounts, and what must be true of it afterwards.

Each transfer writes its number into a ledger, in the transaction that moves the money. One whose
commit was answered must be there. One that failed may be there, if the answer was lost on its way:
then all of it is, or nothing.
"""

import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from django.db import Error, connections, transaction

from pooldaemon.exceptions import PoolTimeout
from tests.support.server import Admin

ACCOUNTS = 1000
BALANCE = 1000
LARGEST = 50
PAUSE = 0.05  # seconds after a failure, so that a server that is away makes no busy loop

ACCOUNT = "CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL) ENGINE=InnoDB"
LEDGER = (
    "CREATE TABLE ledger (id BIGINT PRIMARY KEY, source INT NOT NULL, target INT NOT NULL,"
    " amount INT NOT NULL, note TEXT NOT NULL) ENGINE=InnoDB"
)


def found(admin: Admin, name: str) -> None:
    """Make the accounts, in the database *name*."""
    admin.query(f"USE {name}")
    for statement in (ACCOUNT, LEDGER):
        admin.query(statement)
    rows = ", ".join(f"({number}, {BALANCE})" for number in range(ACCOUNTS))
    admin.query(f"INSERT INTO account VALUES {rows}")


@dataclass(frozen=True)
class Attempt:
    """
    :ivar error: what it raised, for a person; empty: the commit was answered.
    :ivar code: the server's or the client library's number of it; 0: ``PoolTimeout``.
    """

    number: int
    started: float
    ended: float
    code: int | None = None
    error: str = ""

    @property
    def seconds(self) -> float:
        return self.ended - self.started


@dataclass
class Bank:
    """The transfers by way of one pool.

    :param note: returns what is to be written beside a transfer.
    """

    alias: str
    threads: int = 32
    note: Callable[[], str] = str
    attempts: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = count()
        self._under_way: dict[int, float] = {}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[random.Random(number)], daemon=True)
            for number in range(self.threads)
        ]

    @property
    def transfers(self) -> int:
        """Those that were answered."""
        return sum(not one.error for one in self.attempts)

    def open(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self, seconds: float) -> None:
        """:param seconds: after so many, a thread that is not back is said to hang."""
        self._stop.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        frames = sys._current_frames()
        hanging = [
            "".join(traceback.format_stack(frames[thread.ident], limit=6))
            for thread in self._threads
            if thread.ident in frames and thread.is_alive()
        ]
        assert not hanging, f"{len(hanging)} threads hang, the first one here:\n{hanging[0]}"

    def first_success(self, moment: float) -> float | None:
        """When the first commit was answered after *moment*."""
        ends = (one.ended for one in self.attempts if not one.error and one.ended > moment)
        return min(ends, default=None)

    def is_back(self, moment: float) -> bool:
        """Whether no thread is in a transfer any more that it began before *moment*."""
        return all(started > moment for started in list(self._under_way.values()))

    def failures(self, began: float, ended: float) -> Counter[int | None]:
        """The errors, by number, of that time."""
        return Counter(
            one.code for one in self.attempts if one.error and began <= one.ended <= ended
        )

    def back(self, began: float, ended: float) -> list[Attempt]:
        """Those that were under way at some time between."""
        return [one for one in self.attempts if one.started <= ended and began <= one.ended]

    def _run(self, chance: random.Random) -> None:
        while not self._stop.is_set():
            started, number = time.monotonic(), next(self._numbers)
            self._under_way[threading.get_ident()] = started
            try:
                self._transfer(number, chance)
            except Error as error:
                code = error.args[0] if isinstance(error.args[0], int) else None
                if isinstance(error, PoolTimeout):
                    code = 0
                self._note(number, started, code, f"{type(error).__name__}: {error}")
                self._stop.wait(PAUSE)
            except Exception as error:  # noqa: BLE001  # the test judges it
                self._note(number, started, None, "".join(traceback.format_exception(error)))
                self._stop.wait(PAUSE)
            else:
                self._note(number, started)

    def _note(self, number: int, started: float, code: int | None = None, error: str = "") -> None:
        self.attempts.append(Attempt(number, started, time.monotonic(), code, error))

    def _transfer(self, number: int, chance: random.Random) -> None:
        source, target = chance.sample(range(ACCOUNTS), 2)
        amount = chance.randint(1, LARGEST)
        connection = connections[self.alias]
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT balance FROM account WHERE id = %s", [source])
            with transaction.atomic(using=self.alias), connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO ledger VALUES (%s, %s, %s, %s, %s)",
                    [number, source, target, amount, self.note()],
                )
                # In one order: no deadlocks.
                for account, change in sorted([(source, -amount), (target, amount)]):
                    cursor.execute(
                        "UPDATE account SET balance = balance + %s WHERE id = %s",
                        [change, account],
                    )
        finally:
            with suppress(Error):
                connection.close()

    def audit(self, admin: Admin, name: str) -> None:
        """Compare what is there with what was answered. Once no session of the pool is left."""
        admin.query(f"USE {name}")
        admin.query("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        balances = {row["id"]: row["balance"] for row in admin.query("SELECT * FROM account")}
        columns = "id, source, target, amount"
        ledger = {row["id"]: row for row in admin.query(f"SELECT {columns} FROM ledger")}
        admin.query("COMMIT")
        expected = dict.fromkeys(range(ACCOUNTS), BALANCE)
        for row in ledger.values():
            expected[row["source"]] -= row["amount"]
            expected[row["target"]] += row["amount"]
        answered = {one.number for one in self.attempts if not one.error}
        attempted = {one.number for one in self.attempts}
        assert sum(balances.values()) == ACCOUNTS * BALANCE
        assert balances == expected, "accounts and ledger differ"
        assert answered <= ledger.keys(), "commits that were answered are lost"
        assert ledger.keys() <= attempted, "transfers that nobody has made"
