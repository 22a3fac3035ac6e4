"""A process that forks while its other threads use the database; prints what it knows of it all.

    python -m tests.forks.trial \
        '{"databases": {"default": {…}, "fresh": {…}}, "forks": 100, "patience": 20}'

The databases are entries of DATABASES: the same one twice, "fresh" with a new connection at every
borrow. It has the table of :data:`TABLE`. Every other fork is the main thread's. So many seconds
are given to a child, and to the threads' end. The process keeps its sessions until its input ends.
"""

import faulthandler
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import django
from django.conf import settings
from django.db import connections

from tests.forks import children
from tests.forks.children import CHILDREN, OF_MAIN_THREAD, OF_OTHER_THREADS, Child, Meant
from tests.forks.sessions import Sessions
from tests.forks.threads import KINDS, Record, work

TABLE = (
    "CREATE TABLE fork_rows (id BIGINT AUTO_INCREMENT PRIMARY KEY, thread INT, unit INT,"
    " KEY (thread, unit)) ENGINE=InnoDB"
)
ENOUGH = 3  # hanging children, after which there is no more forking


@dataclass
class Account:
    """What the process knows itself.

    :ivar sessions: those that it has open now.
    :ivar ended: sessions that it found ended without its doing.
    :ivar errors: that its threads got.
    :ivar hung: children and threads.
    :ivar failed: children that ended in another way than they were to.
    """

    forks: int = 0
    seconds: float = 0.0
    sessions: list[int] = field(default_factory=list)
    ended: int = 0
    hung: int = 0
    errors: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


@dataclass(frozen=True)
class Way:
    """One way to fork, and the child."""

    name: str
    start: Callable[[int], int]
    child: Child


def ways(plain: Iterable[Child]) -> list[Way]:
    return [
        Way(child.run.__name__, lambda unit, child=child: children.start(child, unit), child)
        for child in plain
    ]


def main_thread_ways() -> list[Way]:
    inside_atomic = Child(children.use_database, 6)
    return [
        *ways(OF_MAIN_THREAD),
        Way("inside atomic", lambda unit: children.start_inside_atomic(unit, MAIN), inside_atomic),
        Way(
            "multiprocessing",
            children.start_with_multiprocessing,
            Child(children.use_atomic, writes=True),
        ),
        Way("preexec_fn", children.start_with_preexec_fn, Child(children.execute)),
    ]


MAIN = -2
"""Stands for the main thread where a row names its thread."""


@dataclass
class Forker:
    """Forks one child after the other, each in the next way, and waits for it."""

    account: Account
    patience: float
    ways: list[Way]
    children: Record = field(default_factory=lambda: Record(CHILDREN))
    own: Record = field(default_factory=lambda: Record(MAIN))

    def run(self, units: Iterable[int]) -> None:
        parent = os.getpid()
        for number, unit in enumerate(units):
            if self.account.hung >= ENOUGH:
                return
            way = self.ways[number % len(self.ways)]
            try:
                pid = way.start(unit)
            except Exception as error:
                if os.getpid() != parent:
                    raise
                self.account.errors.append(f"fork, {way.name}: {type(error).__name__}: {error}")
                connections.close_all()
                continue
            if way.name == "inside atomic":
                self.own.committed.add(unit)
            self._wait(pid, way, unit)
            self.account.forks += 1

    def _wait(self, pid: int, way: Way, unit: int) -> None:
        deadline = time.monotonic() + self.patience
        # Left to be reaped: multiprocessing wants to do that itself.
        while not (ended := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)):
            if time.monotonic() > deadline:
                self.account.hung += 1
                os.kill(pid, signal.SIGABRT)  # it prints where it is
                deadline += self.patience
            time.sleep(0.001)
        if (ended.si_code, ended.si_status) != (os.CLD_EXITED, way.child.status):
            self.account.failed.append(f"{way.name}: status {ended.si_status}")
        elif way.child.writes:
            self.children.committed.add(unit)
        multiprocessing.active_children()
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def run(forks: int, patience: float) -> Account:
    began = time.monotonic()
    account = Account()
    sessions = Sessions()
    for connection in connections.all():  # a fork in the middle of an import is no matter of ours
        connection.ensure_connection()
        connection.close()
    stop = threading.Event()
    account.records = [Record(number) for number in range(len(KINDS))]
    threads = [
        threading.Thread(target=work, args=[kind, record, stop])
        for kind, record in zip(KINDS, account.records, strict=True)
    ]
    main = Forker(account, patience, main_thread_ways())
    other = Forker(account, patience, ways(OF_OTHER_THREADS))
    forking = threading.Thread(target=other.run, args=[range(1, forks, 2)])
    for thread in [*threads, forking]:
        thread.start()
    main.run(range(0, forks, 2))
    forking.join()
    stop.set()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    account.hung += sum(thread.is_alive() for thread in threads)
    account.errors += [error for record in account.records for error in record.errors]
    account.records += [main.children, other.children, main.own]
    account.sessions = list(sessions.open)
    account.ended = len(sessions.ended)
    account.seconds = time.monotonic() - began
    return account


def silence(error: Any) -> None:
    if not issubclass(error.exc_type, Meant):
        threading.__excepthook__(error)


if __name__ == "__main__":
    # From 3.12 on Python warns of what is done here on purpose.
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    sys.excepthook = lambda kind, *rest: kind is Meant or sys.__excepthook__(kind, *rest)
    threading.excepthook = silence
    faulthandler.enable()
    arguments = json.loads(sys.argv[1])
    settings.configure(DATABASES=arguments["databases"], INSTALLED_APPS=[], USE_TZ=True)
    django.setup()
    account = run(arguments["forks"], arguments["patience"])
    sys.stdout.write(json.dumps(asdict(account), default=list) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # not waiting for threads that hang
