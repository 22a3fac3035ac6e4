"""Threads that do random units, each of which checks its own results."""

import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import Error as DjangoError
from django.db import connections, transaction

Unit = Callable[[Any, random.Random], None]

JOIN_TIMEOUT = 60.0
FAILURE_PAUSE = 0.01  # seconds; else a server that is away makes a busy loop


@dataclass(frozen=True)
class Failure:
    """A unit that raised.

    :ivar session: the server's number for its session; 0: it failed before it had one.
    """

    error: BaseException
    session: int
    started: float
    ended: float

    @property
    def code(self) -> int:
        number = self.error.args[0] if self.error.args else 0
        return number if isinstance(number, int) else 0

    def __str__(self) -> str:
        return f"{type(self.error).__name__} {self.error} in session {self.session}"


class WrongResult(Exception):
    """The server answered, and not what was asked."""


def expect(what: Any, expected: Any) -> None:
    if what != expected:
        raise WrongResult(f"{what!r} instead of {expected!r}")


@dataclass
class Load:
    """
    :param units: one is chosen at random each time.
    :ivar longest_wait, longest_hold: seconds, of all units so far.
    """

    alias: str
    units: list[Unit]
    threads: int = 8
    done: int = 0
    longest_wait: float = 0.0
    longest_hold: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    last_done: float = 0.0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=[random.Random(number)], daemon=True)
            for number in range(self.threads)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        deadline = time.monotonic() + JOIN_TIMEOUT
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        frames = sys._current_frames()
        hanging = [
            "".join(traceback.format_stack(frames[thread.ident], limit=6))
            for thread in self._threads
            if thread.ident in frames and thread.is_alive()
        ]
        assert not hanging, f"{len(hanging)} threads hang, the first one here:\n{hanging[0]}"

    def take_failures(self) -> list[Failure]:
        with self._lock:
            failures, self.failures = self.failures, []
            return failures

    def _run(self, chance: random.Random) -> None:
        connection = connections[self.alias]
        while not self._stop.is_set():
            self._perform(connection, chance)

    def _perform(self, connection: Any, chance: random.Random) -> None:
        session, started = 0, time.monotonic()
        borrowed = started
        error: BaseException | None = None
        try:
            try:
                connection.ensure_connection()
            finally:
                borrowed = time.monotonic()
            session = connection.connection.thread_id()
            chance.choice(self.units)(connection, chance)
        except Exception as failure:  # noqa: BLE001  # the test judges them
            error = failure
        try:
            connection.close()
        except Exception as failure:  # noqa: BLE001
            error = error or failure
        ended = time.monotonic()
        with self._lock:
            self.longest_wait = max(self.longest_wait, borrowed - started)
            self.longest_hold = max(self.longest_hold, ended - borrowed)
            if error is None:
                self.done += 1
                self.last_done = ended
                return
            self.failures.append(Failure(error, session, started, ended))
        self._stop.wait(FAILURE_PAUSE)


def fetch(connection: Any, sql: str, parameters: Any = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()


def read_back(connection: Any, chance: random.Random) -> None:
    token = chance.getrandbits(60)
    for _ in range(chance.randint(1, 4)):
        expect(fetch(connection, "SELECT %s, CONNECTION_ID()", [token])[0], token)


def write_in_a_transaction(connection: Any, chance: random.Random) -> None:
    token = chance.getrandbits(60)
    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO t (token) VALUES (%s)", [token])
        expect(fetch(connection, "SELECT COUNT(*) FROM t WHERE token = %s", [token]), (1,))
    expect(fetch(connection, "SELECT COUNT(*) FROM t WHERE token = %s", [token]), (1,))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM t WHERE token = %s", [token])
        expect(cursor.rowcount, 1)


def leave_things_behind(connection: Any, chance: random.Random) -> None:
    token = str(chance.getrandbits(60))
    expect(fetch(connection, "SELECT @token"), (None,))
    with connection.cursor() as cursor:
        cursor.execute("SET @token = %s", [token])
    expect(fetch(connection, "SELECT @token"), (token,))
    expect(fetch(connection, "SELECT GET_LOCK(%s, 0)", [f"stress{token}"]), (1,))


def fail_by_itself(connection: Any, chance: random.Random) -> None:
    try:
        fetch(connection, chance.choice(["SELECT * FROM nowhere", "SELEKT", "SELECT nothing"]))
    except DjangoError as error:
        if error.args[0] not in {1146, 1064, 1054}:
            raise
    else:
        raise WrongResult("a statement that must fail did not")


def take_a_while(connection: Any, chance: random.Random) -> None:
    # Killed, MariaDB's SLEEP() raises and MySQL's answers 1; both are fine.
    expect(fetch(connection, "SELECT SLEEP(%s)", [chance.random() / 20])[0] in (0, 1), True)


UNITS: list[Unit] = [
    read_back,
    write_in_a_transaction,
    leave_things_behind,
    fail_by_itself,
    take_a_while,
]
