"""A server that misbehaves under load: only the units that were hit see it, and not for long."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import OperationalError, connections

from pooldaemon.exceptions import PoolTimeout
from tests.stress.load import (
    UNITS,
    Load,
    WrongResult,
    expect,
    fetch,
    read_back,
    write_in_a_transaction,
)
from tests.support.poll import wait_until
from tests.support.server import Server
from tests.unit.databases import AddDatabase

pytestmark = pytest.mark.mysql

OnServer = Callable[..., tuple[Server, str]]

DEADLINE = 30.0
LOST = {1053, 1317, 1927, 2002, 2003, 2006, 2013, 2026, 2055, 4031}


def wait_for_units(load: Load, number: int = 30) -> None:
    goal = load.done + number
    wait_until(lambda: load.done >= goal, DEADLINE, f"{number} more units")


def assert_only(load: Load, codes: set[int]) -> None:
    assert [str(one) for one in load.failures if one.code not in codes] == []


def test_idle_sessions_killed_are_replaced_without_an_error(on_server: OnServer) -> None:
    server, alias = on_server(pool_size=4)
    for _ in range(5):
        with Load(alias, [read_back], threads=4) as load:
            wait_for_units(load)
        assert load.failures == []
        for session in server.processlist():
            server.admin.kill(session.id)
        wait_until(lambda: server.processlist() == [], DEADLINE, "sessions still there")
    assert connections[alias].pool.stats().discards["dead"] > 0  # type: ignore[attr-defined]


def test_busy_sessions_killed_cost_only_their_units(on_server: OnServer) -> None:
    server, alias = on_server(pool_size=4)
    killed: set[int] = set()
    with Load(alias, UNITS, threads=8) as load:
        for _ in range(20):
            wait_for_units(load, 5)
            for session in server.processlist()[:2]:
                killed.add(session.id)
                server.admin.query(f"KILL {session.id}")
        wait_for_units(load)
    assert_only(load, LOST | {1094})
    assert {one.session for one in load.failures} <= killed | {0}
    assert len(load.failures) <= len(killed)


@pytest.mark.parametrize("recycle", [3600, -1], ids=["recycle above it", "no recycle"])
def test_sessions_that_the_server_ends_for_idling_are_never_noticed(
    on_server: OnServer, recycle: int
) -> None:
    server, alias = on_server(pool_size=4, recycle=recycle)
    server.admin.query("SET GLOBAL wait_timeout = 1")
    for _ in range(2):
        with Load(alias, UNITS, threads=4) as load:
            wait_for_units(load)
        assert load.failures == []
        wait_until(lambda: server.processlist() == [], DEADLINE, "sessions still there")


def test_a_unit_that_idles_past_wait_timeout_fails_alone(on_server: OnServer) -> None:
    server, alias = on_server(pool_size=2)
    server.admin.query("SET GLOBAL wait_timeout = 1")

    def dawdle(connection: Any, _: Any) -> None:
        fetch(connection, "SELECT 1")
        session = connection.connection.thread_id()
        wait_until(
            lambda: session not in {one.id for one in server.processlist()}, DEADLINE, "not ended"
        )
        fetch(connection, "SELECT 2")

    with Load(alias, [dawdle], threads=1) as load:
        wait_until(lambda: load.failures, DEADLINE, "no failure")
    assert_only(load, LOST)
    expect(fetch(connections[alias], "SELECT 3"), (3,))


def test_a_restart_is_over_when_the_server_is_back(on_server: OnServer) -> None:
    server, alias = on_server(pool_size=4, timeout=10)
    with Load(alias, UNITS, threads=8) as load:
        wait_for_units(load)
        server.restart()
        back = time.monotonic()
        wait_for_units(load)
    assert_only(load, LOST)
    # A unit begun before the server was back may fail; each session is replaced within a borrow.
    assert [str(one) for one in load.failures if one.started > back + 1] == []


def test_idle_sessions_survive_a_restart_without_an_error(on_server: OnServer) -> None:
    server, alias = on_server(pool_size=4)
    with Load(alias, [read_back], threads=4) as load:
        wait_for_units(load)
    server.restart()
    with Load(alias, UNITS, threads=4) as load:
        wait_for_units(load)
    assert load.failures == []


def test_a_server_that_stops_for_a_while_loses_nothing(on_server: OnServer) -> None:
    server, alias = on_server(pool_size=4, timeout=20)
    with Load(alias, UNITS, threads=8) as load:
        wait_for_units(load)
        server.pause()
        resumed = threading.Timer(1.0, server.resume)
        resumed.start()
        resumed.join()
        wait_for_units(load)
    assert load.failures == []


def test_a_server_that_stays_stopped_is_bounded_by_the_timeouts(on_server: OnServer) -> None:
    timeouts = {"connect_timeout": 1, "read_timeout": 1, "write_timeout": 1}
    server, alias = on_server(timeouts, pool_size=2, timeout=2)
    with Load(alias, [read_back, write_in_a_transaction], threads=4) as load:
        wait_for_units(load)
        server.pause()
        wait_until(lambda: len(load.failures) >= 8, DEADLINE, "no failures")
        server.resume()
        resumed = time.monotonic()
        wait_for_units(load)
    wrong = [one for one in load.failures if isinstance(one.error, WrongResult)]
    assert wrong == []
    assert [
        str(one)
        for one in load.failures
        if one.code not in LOST and not isinstance(one.error, PoolTimeout)
    ] == []
    assert max(one.ended - one.started for one in load.failures) < 10
    assert [str(one) for one in load.failures if one.started > resumed + 3] == []


def test_a_primary_turned_read_only_is_left_at_once(on_server: OnServer) -> None:
    server, alias = on_server(pool_size=4)
    connection = connections[alias]
    with Load(alias, [write_in_a_transaction], threads=4) as load:
        wait_for_units(load)
        before = connection.pool.stats().connects  # type: ignore[attr-defined]
        server.admin.query("SET GLOBAL read_only = 1")
        wait_until(lambda: len(load.failures) >= 8, DEADLINE, "no failure")
        server.admin.query("SET GLOBAL read_only = 0")
        writable = time.monotonic()
        wait_for_units(load)
    assert_only(load, {1290, 1792, 1836})
    assert [str(one) for one in load.failures if one.started > writable] == []
    # Sessions that got this error are not used again: the next may find the new primary.
    stats = connection.pool.stats()  # type: ignore[attr-defined]
    assert stats.discards["broken"] >= 8
    assert stats.connects > before


@pytest.fixture
def silent_server() -> Any:
    """It takes connections and never says a word."""
    with ExitStack() as stack:
        yield stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=50)).getsockname()


def test_a_server_that_never_answers_is_given_up_after_connect_timeout(
    add_database: AddDatabase, silent_server: tuple[str, int]
) -> None:
    host, port = silent_server
    alias = add_database(
        ENGINE="pooldaemon.backends.mysql", NAME="x", USER="x", PASSWORD="x", HOST=host,
        PORT=str(port), OPTIONS={"connect_timeout": 1, "pool": {"pool_size": 1, "timeout": 1.5}},
    )  # fmt: skip
    errors: list[OperationalError] = []

    def borrow() -> None:
        started = time.monotonic()
        with pytest.raises(OperationalError) as caught:
            connections[alias].ensure_connection()
        errors.append(caught.value)
        assert time.monotonic() - started < 4

    threads = [threading.Thread(target=borrow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(errors) == 4
    timeouts = [error for error in errors if isinstance(error, PoolTimeout)]
    lost = [error for error in errors if not isinstance(error, PoolTimeout)]
    # Who connected got the driver's error, who waited the pool's, which names the driver's.
    assert lost
    assert all(error.args[0] in {2003, 2013} for error in lost)
    assert timeouts
    assert all(error.last_connect_error is not None for error in timeouts)
    assert all(error.__cause__ is error.last_connect_error for error in timeouts)
    assert all("Last connect error: (2013, " in str(error) for error in timeouts)
    assert all(f"127.0.0.1:{port}" in str(error) for error in timeouts)
