"""A server of the test's own, with limits, restarted, stopped, frozen."""

import threading
import time
from collections.abc import Iterator

import pytest
from django.db import OperationalError, connections

from pooldaemon import auto_close_db, close_pool
from pooldaemon.pool.drivers.mysql import dialect
from pooldaemon.pool.queue import pool
from tests.mysql.conftest import StartServer
from tests.mysql.scratch import Account, Scratch, scratch_on
from tests.mysql.use import fetch, return_connection, run, session_id, stats
from tests.support.mode import session_mode_only
from tests.support.poll import wait_until
from tests.support.server import Server
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE, Task

CAP = 3


@pytest.fixture
def limited(scratch: Scratch) -> Iterator[Scratch]:
    """An account that the server lets have exactly CAP sessions."""
    admin, account = scratch.admin, scratch.account
    url = f"mysql://x:x@{account.host}:{account.port}/x"
    with scratch_on(admin, url, f"WITH MAX_USER_CONNECTIONS {CAP}") as limited:
        yield limited


def own(server: Server) -> Account:
    return Account.from_url(server.url)


def test_an_account_limited_to_exactly_the_cap_refuses_nobody(
    add_pooled: AddDatabase, limited: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "SERVER_FULL", frozenset())  # a refusal is an error, not a retry
    alias = add_pooled(to=limited.account, pool_size=CAP, timeout=20, recycle=1)
    stop = threading.Event()
    done = [0] * 8

    @auto_close_db
    def unit(number: int) -> None:
        run(alias, "SELECT SLEEP(0.001)")
        if number % 3 == 0:
            run(alias, "SET @a = 1")
        if number % 5 == 0:
            connections[alias].connection.close()  # each time a new session at the limit

    def work(thread: int) -> None:
        while not stop.is_set():
            done[thread] += 1
            unit(done[thread])

    def enough() -> bool:
        for _ in range(100):
            close_pool(alias)
        return min(done) > 15 and stats(alias).connects > 10  # each kind of unit in each thread

    tasks = [Task(lambda number=number: work(number)) for number in range(len(done))]
    try:
        wait_until(enough, DEADLINE, "some thread gets nothing done")
    finally:
        stop.set()
    for task in tasks:
        task.result()
    assert (stats(alias).connect_errors, stats(alias).peak) == (0, CAP)


def test_a_session_counts_until_the_server_has_ended_it(
    start_server: StartServer, add_pooled: AddDatabase
) -> None:
    server = start_server()
    alias = add_pooled(to=own(server), pool_size=1, timeout=20)
    session_id(alias)
    server.pause()
    try:
        connections[alias].connection.close()
        return_connection(alias)
        assert stats(alias).total == 1, "the server has not let go of it"
    finally:
        server.resume()
    assert fetch(alias, "SELECT 7") == 7
    assert (stats(alias).total, stats(alias).peak) == (1, 1)


def test_a_full_account_is_tried_again_until_there_is_room(
    add_pooled: AddDatabase, limited: Scratch
) -> None:
    other = add_pooled(to=limited.account, pool_size=CAP, timeout=1)
    alias = add_pooled(to=limited.account, pool_size=1, timeout=20)
    holding, leave = threading.Event(), threading.Event()
    barrier = threading.Barrier(CAP, holding.set)

    @auto_close_db
    def hold() -> None:
        session_id(other)
        barrier.wait(DEADLINE)
        leave.wait(DEADLINE)

    holders = [Task(hold) for _ in range(CAP)]
    assert holding.wait(DEADLINE)
    task = Task(auto_close_db(fetch), alias, "SELECT 7")
    wait_until(lambda: stats(alias).in_use == 1, DEADLINE, "it does not try")
    leave.set()
    for holder in holders:
        holder.result()
    assert task.is_alive(), "idle sessions of the other pool still fill the account"
    close_pool(other)
    assert task.result() == 7


def test_a_full_account_is_an_error_when_the_timeout_has_passed(
    add_pooled: AddDatabase, limited: Scratch
) -> None:
    other = add_pooled(to=limited.account, pool_size=CAP)
    alias = add_pooled(to=limited.account, pool_size=1, timeout=0.3)
    release = threading.Event()
    barrier = threading.Barrier(CAP + 1)

    @auto_close_db
    def hold() -> None:
        session_id(other)
        barrier.wait(DEADLINE)
        release.wait(DEADLINE)

    holders = [Task(hold) for _ in range(CAP)]
    barrier.wait(DEADLINE)
    started = time.monotonic()
    with pytest.raises(OperationalError) as caught:
        fetch(alias, "SELECT 1")
    assert caught.value.args[0] in {1203, 1226}
    assert 0.15 <= time.monotonic() - started < 3
    release.set()
    for holder in holders:
        holder.result()
    close_pool(other)
    assert fetch(alias, "SELECT 7") == 7, "the slot was lost"


def test_a_server_that_is_full_is_tried_again(
    start_server: StartServer, add_pooled: AddDatabase
) -> None:
    # One more is for accounts with SUPER, and this one has it: the account below has not.
    server = start_server("--max-connections=10")
    with scratch_on(server.admin, server.url) as scratch:
        other = add_pooled(to=scratch.account, pool_size=20, timeout=0)
        alias = add_pooled(to=scratch.account, pool_size=1, timeout=20)
        full, release = threading.Event(), threading.Event()

        @auto_close_db
        def hold() -> None:
            try:
                session_id(other)
            except OperationalError as error:
                assert error.args[0] == 1040  # noqa: PT017
                full.set()
            release.wait(DEADLINE)

        holders = [Task(hold) for _ in range(12)]
        assert full.wait(DEADLINE)
        task = Task(auto_close_db(fetch), alias, "SELECT 7")
        wait_until(lambda: stats(alias).in_use == 1, DEADLINE, "it does not try")
        release.set()
        for holder in holders:
            holder.result()
        close_pool(other)
        assert task.result() == 7


@session_mode_only
def test_sessions_that_a_restart_ended_are_replaced_unseen(
    start_server: StartServer, add_pooled: AddDatabase
) -> None:
    server = start_server()
    alias = add_pooled(to=own(server), pool_size=3)

    @auto_close_db
    def ask(barrier: threading.Barrier) -> int:
        number = session_id(alias)
        barrier.wait(DEADLINE)
        return number

    for _ in range(2):
        barrier = threading.Barrier(3)
        tasks = [Task(ask, barrier) for _ in range(3)]
        assert len({task.result() for task in tasks}) == 3
        server.restart()
    assert Task(auto_close_db(fetch), alias, "SELECT 7").result() == 7


def test_a_server_that_is_down_is_an_error_and_once_it_is_back_all_is_well(
    start_server: StartServer, add_pooled: AddDatabase
) -> None:
    server = start_server()
    alias = add_pooled(to=own(server), pool_size=1, timeout=5)
    fetch(alias, "SELECT 1")
    server.stop()
    with pytest.raises(OperationalError):
        fetch(alias, "SELECT 1")  # it was borrowed before
    return_connection(alias)
    for _ in range(3):
        with pytest.raises(OperationalError) as caught:
            fetch(alias, "SELECT 1")
        assert caught.value.args[0] in {2002, 2003}
    server.start()
    assert fetch(alias, "SELECT 7") == 7
    assert stats(alias).total == 1


def test_a_session_that_idled_past_wait_timeout_is_replaced_unseen(
    start_server: StartServer, add_pooled: AddDatabase
) -> None:
    server = start_server("--wait-timeout=1")
    alias = add_pooled(to=own(server), pool_size=1)
    first = session_id(alias)
    return_connection(alias)
    wait_until(lambda: server.processlist() == [], DEADLINE, "the server keeps idle sessions")
    assert session_id(alias) != first


class Later:
    """The module time, some seconds ahead."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._seconds


@session_mode_only
@pytest.mark.parametrize("ping_after", [0, 30])
def test_a_session_is_not_used_at_the_edge_of_its_wait_timeout(
    add_pooled: AddDatabase, monkeypatch: pytest.MonkeyPatch, ping_after: float
) -> None:
    options = {"init_command": "SET SESSION wait_timeout = 20"}
    alias = add_pooled(options, pool_size=1, ping_after=ping_after, recycle=-1)
    first = session_id(alias)
    return_connection(alias)
    monkeypatch.setattr(pool, "time", Later(15))
    assert session_id(alias) == first
    monkeypatch.undo()
    return_connection(alias)
    monkeypatch.setattr(pool, "time", Later(19.5))
    assert session_id(alias) != first, "half a second later the server would end it"
    monkeypatch.undo()


def test_a_frozen_server_does_not_hang_a_borrower_for_ever(
    start_server: StartServer, add_pooled: AddDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "PING_TIMEOUT", 0.2)
    server = start_server()
    alias = add_pooled({"connect_timeout": 1}, to=own(server), pool_size=1, timeout=3, ping_after=0)
    fetch(alias, "SELECT 1")
    return_connection(alias)
    server.pause()
    try:
        started = time.monotonic()
        with pytest.raises(OperationalError):
            fetch(alias, "SELECT 1")
        assert time.monotonic() - started < 10
    finally:
        server.resume()
    assert fetch(alias, "SELECT 7") == 7


def test_a_frozen_server_never_holds_up_those_who_use_another(
    start_server: StartServer, add_pooled: AddDatabase, alias: str
) -> None:
    server = start_server()
    frozen = add_pooled({"connect_timeout": 2}, to=own(server), pool_size=1)
    server.pause()
    try:
        task = Task(fetch, frozen, "SELECT 1")
        wait_until(lambda: stats(frozen).in_use == 1, DEADLINE, "it does not try")
        assert fetch(alias, "SELECT 7") == 7
        assert task.is_alive()
    finally:
        server.resume()
    task.join(DEADLINE)


@pytest.fixture
def refusing(scratch: Scratch) -> Iterator[None]:
    """A table that no test writes to."""
    scratch.admin.query(f"CREATE TABLE {scratch.account.name}.refusing (n INT)")
    yield
    scratch.admin.query(f"DROP TABLE {scratch.account.name}.refusing")


@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize(
    "read_only",
    [
        {"init_command": "SET SESSION TRANSACTION READ ONLY"},
        {"statement": "SET SESSION TRANSACTION READ ONLY"},
        {"statement": "START TRANSACTION READ ONLY"},
        {"statement": "SET TRANSACTION READ ONLY"},
    ],
    ids=lambda read_only: " by ".join(*read_only.items()),
)
def test_a_session_that_was_made_read_only_stays(
    add_pooled: AddDatabase, refusing: None, mode: str, read_only: dict[str, str]
) -> None:
    options = {name: value for name, value in read_only.items() if name == "init_command"}
    alias = add_pooled(options, pool_size=1, mode=mode)
    first = session_id(alias)
    return_connection(alias)
    for _ in range(2):
        if statement := read_only.get("statement"):
            run(alias, statement)
        with pytest.raises(OperationalError) as caught:
            run(alias, "INSERT INTO refusing VALUES (1)")
        assert caught.value.args[0] == 1792
        return_connection(alias)
        assert session_id(alias) == first
        return_connection(alias)
    assert stats(alias).connects == 1


@pytest.mark.parametrize("reset", ["dirty", "never"])
def test_one_that_the_server_made_read_only_is_left(
    start_server: StartServer, add_pooled: AddDatabase, reset: str
) -> None:
    server = start_server()
    with scratch_on(server.admin, server.url) as scratch:
        server.admin.query("SET GLOBAL TRANSACTION READ ONLY")
        server.admin.query(f"CREATE TABLE {scratch.account.name}.t (n INT)")
        alias = add_pooled(to=scratch.account, pool_size=1, reset=reset)
        first = session_id(alias)
        with pytest.raises(OperationalError) as caught:
            run(alias, "INSERT INTO t VALUES (1)")
        assert caught.value.args[0] == 1792
        return_connection(alias)
        assert session_id(alias) != first
        return_connection(alias)
        close_pool(alias)


def test_a_server_that_turned_read_only_is_left(
    start_server: StartServer, add_pooled: AddDatabase
) -> None:
    server = start_server()
    with scratch_on(server.admin, server.url) as scratch:
        server.admin.query(f"CREATE TABLE {scratch.account.name}.t (n INT)")
        alias = add_pooled(to=scratch.account, pool_size=1)
        first = session_id(alias)
        server.admin.query("SET GLOBAL read_only = 1")
        with pytest.raises(OperationalError) as caught:
            run(alias, "INSERT INTO t VALUES (1)")
        assert caught.value.args[0] == 1290
        server.admin.query("SET GLOBAL read_only = 0")
        return_connection(alias)
        assert session_id(alias) != first
        return_connection(alias)
        close_pool(alias)
