"""Single moments of a fork, each of which went wrong once."""

import ctypes
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import InterfaceError, connections, transaction
from MySQLdb import Error
from MySQLdb.cursors import SSCursor
from pytest_django import DjangoDbBlocker

from pooldaemon.connections import pool_stats
from pooldaemon.pool import fork_safety
from tests.mysql.scratch import Scratch, scratch_on
from tests.support.mode import MODES
from tests.support.poll import wait_until
from tests.support.server import Admin
from tests.unit.databases import own_databases

# From 3.12 on Python warns of what is done here on purpose.
FORKING = "ignore:.*multi-threaded, use of fork:DeprecationWarning"
pytestmark = pytest.mark.filterwarnings(FORKING)

DEADLINE = 30.0
_local = threading.local()


@pytest.fixture
def scratch(database_admin: Admin) -> Iterator[Scratch]:
    with scratch_on(database_admin, os.environ["DATABASE_URL"]) as scratch:
        database_admin.query(f"CREATE TABLE {scratch.account.name}.t (n INT) ENGINE=InnoDB")
        yield scratch


@pytest.fixture(params=MODES)
def alias(
    request: pytest.FixtureRequest, scratch: Scratch, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    with django_db_blocker.unblock(), own_databases() as add:
        yield add(**scratch.account.settings(OPTIONS={"pool": {"mode": request.param}}))


def pinned(alias: str) -> AbstractContextManager[None]:
    """In session mode a thread keeps its connection anyway."""
    return connections[alias].pinned()  # type: ignore[attr-defined, no-any-return]


def fetch(alias: str, statement: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def fork(child: Callable[[], object], by: Callable[[], int] = os.fork) -> None:
    """The child leaves at once when *child* has returned; it has failed if that raised."""
    if (pid := by()) == 0:
        status = 1
        try:
            child()
            status = 0
        finally:
            os._exit(status)
    how = os.WEXITED | os.WNOHANG
    ended = wait_until(lambda: os.waitid(os.P_PID, pid, how), DEADLINE, "the child hangs")
    assert (ended.si_code, ended.si_status) == (os.CLD_EXITED, 0)


class Pausing:
    """A thread that does something before the fork, and something after it."""

    def __init__(self, before: Callable[[], object], after: Callable[[], object]) -> None:
        self._done, self._go_on = threading.Event(), threading.Event()
        self.result: object = None

        def run() -> None:
            before()
            self._done.set()
            self._go_on.wait(DEADLINE)
            self.result = after()
            connections.close_all()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        self._done.wait(DEADLINE)

    def go_on(self) -> object:
        self._go_on.set()
        self._thread.join(DEADLINE)
        return self.result


ROWS = 4900


def rows_one_by_one(alias: str) -> Any:
    connections[alias].ensure_connection()
    cursor = connections[alias].connection.cursor(SSCursor)
    cursor.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70)"
        " SELECT REPEAT('x', 999) FROM n, n AS m"
    )
    return cursor


def generate(alias: str) -> Iterator[Any]:
    with rows_one_by_one(alias) as cursor:
        yield from cursor


@pytest.mark.mysql
@pytest.mark.parametrize("wait", [rows_one_by_one, generate])
def test_rows_that_only_a_thread_local_waits_for_are_not_read_by_the_child(
    alias: str, wait: Callable[[str], Any]
) -> None:
    def begin() -> None:
        _local.rows = wait(alias)
        next(_local.rows)

    def read_on() -> int:
        read = 1 + sum(1 for _ in _local.rows)
        del _local.rows
        return read

    thread = Pausing(begin, read_on)
    fork(lambda: None)
    assert thread.go_on() == ROWS


def commit_at_end(alias: str) -> Iterator[None]:
    with transaction.atomic(alias), connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
        yield


def write_at_end(alias: str) -> Iterator[None]:
    with connections[alias].cursor() as cursor:
        try:
            yield
        finally:
            cursor.execute("INSERT INTO t VALUES (1)")


@pytest.mark.mysql
@pytest.mark.parametrize("unit", [commit_at_end, write_at_end])
def test_a_unit_that_only_a_thread_local_knows_is_not_ended_by_the_child(
    alias: str, unit: Callable[[str], Iterator[None]]
) -> None:
    def begin() -> None:
        _local.unit = unit(alias)
        next(_local.unit)

    thread = Pausing(begin, lambda: next(_local.unit, None))
    # What it does to "its" connection would in the child be done to that of the forking thread.
    with transaction.atomic(alias), connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (2)")
        fork(lambda: None)
    thread.go_on()
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 2


@pytest.mark.mysql
def test_a_child_that_python_knows_nothing_of_has_sessions_of_its_own(
    alias: str, scratch: Scratch
) -> None:
    fork_in_c = ctypes.PyDLL(None).fork

    def use() -> None:
        assert fetch(alias, "SELECT CONNECTION_ID()") != own

    def find_out_and_use() -> None:
        with pytest.raises(InterfaceError, match="belongs to the parent process"):
            fetch(alias, "SELECT CONNECTION_ID()")
        use()

    with pinned(alias):
        own = fetch(alias, "SELECT CONNECTION_ID()")
        fork(find_out_and_use, fork_in_c)
    connections[alias].close()
    fork(use, fork_in_c)  # the session is idle in the pool now
    assert fetch(alias, "SELECT CONNECTION_ID()") == own
    assert [session.id for session in scratch.sessions()] == [own]


class Door:
    """A lock that knows who has come to it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.came: set[int] = set()

    def __enter__(self) -> None:
        self.came.add(threading.get_ident())
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


def test_of_the_threads_of_such_a_child_one_makes_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts: list[int] = []
    door = Door()

    def start() -> None:
        starts.append(threading.get_ident())
        wait_until(lambda: len(door.came) == 2, DEADLINE, "the other one is not held up")

    def use() -> None:
        threads = [threading.Thread(target=fork_safety.check) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(starts) == 1

    monkeypatch.setattr(fork_safety, "_starting", door)
    monkeypatch.setattr(fork_safety, "_starts", [start])
    fork(use, ctypes.PyDLL(None).fork)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    filled = []
    try:
        with suppress(OSError):
            while True:
                filled.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in filled:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.mysql
@pytest.mark.parametrize("spare", [True, False])
@pytest.mark.parametrize("by", [os.fork, ctypes.PyDLL(None).fork], ids=["os.fork", "fork in C"])
def test_a_child_without_a_free_descriptor_leaves_its_parents_session_alone(
    alias: str, by: Callable[[], int], spare: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a program has closed all descriptors that it does not know."""
    number = fetch(alias, "SELECT CONNECTION_ID()")
    (session,) = [
        s for s in fork_safety._sessions.values() if getattr(s.connection, "session", 0) == number
    ]

    def close_in_the_drivers_way() -> None:
        fork_safety.check()
        with suppress(Error):
            session.connection.close()  # which says goodbye

    if not spare:
        monkeypatch.setattr(fork_safety._Null, "identity", (-1, -1))
    with pinned(alias):
        with no_descriptor_left():
            fork(close_in_the_drivers_way, by)
        assert fetch(alias, "SELECT CONNECTION_ID()") == number


@pytest.mark.mysql
def test_a_child_begins_with_no_pools_and_counts_for_itself(alias: str) -> None:
    def use() -> None:
        assert pool_stats() == ()
        with pinned(alias):
            fetch(alias, "SELECT 1")
            (own,) = pool_stats()
            assert (own.connects, own.in_use) == (1, 1)

    with pinned(alias):
        fetch(alias, "SELECT 1")
        fork(use)
        (parents,) = pool_stats()
        assert (parents.connects, parents.in_use) == (1, 1)


@pytest.mark.mysql
def test_a_child_forked_inside_atomic_gets_an_error_and_the_parent_goes_on(alias: str) -> None:
    def write() -> None:
        with pytest.raises(connections[alias].Database.InterfaceError, match="inside atomic"):
            connections[alias].connection.rollback()

    with transaction.atomic(alias), connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
        fork(write)
        cursor.execute("INSERT INTO t VALUES (2)")
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 2


def a_fork_begins() -> bool:
    return bool(fork_safety._forking)


def test_a_fork_waits_for_a_session_that_is_being_opened() -> None:
    opening = threading.Event()
    order: list[str] = []

    def open_session() -> None:
        with fork_safety.not_now():
            opening.set()
            wait_until(a_fork_begins, DEADLINE, "no fork begins")
            order.append("opened")

    thread = threading.Thread(target=open_session)
    thread.start()
    opening.wait(DEADLINE)
    fork(lambda: None)
    order.append("forked")
    thread.join()
    assert order == ["opened", "forked"]


def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_safety, "BUSY_WAIT", 0.05)
    opened, stop = threading.Event(), threading.Event()

    def open_session() -> None:
        with fork_safety.not_now():
            opened.set()
            stop.wait(DEADLINE)

    thread = threading.Thread(target=open_session)
    thread.start()
    opened.wait(DEADLINE)

    def open_another() -> None:
        with fork_safety.not_now():
            pass

    fork(open_another)
    open_another()
    stop.set()
    thread.join()


def test_a_thread_that_opens_a_session_can_fork_in_a_signal_handler() -> None:
    with fork_safety.not_now():
        started = time.monotonic()
        fork(lambda: None)
    assert time.monotonic() - started < fork_safety.BUSY_WAIT
