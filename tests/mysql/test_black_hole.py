"""A server that stops answering without a word: every thread comes back within its bound."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from MySQLdb.cursors import SSCursor

from pooldaemon import auto_close_db
from pooldaemon.connections import close_pool
from pooldaemon.pool.drivers.mysql import dialect, setup_timeout
from tests.mysql.scratch import Account, Scratch
from tests.mysql.use import fetch, return_connection, run, stats
from tests.support.mode import MODES, session_mode_only
from tests.support.poll import wait_until
from tests.support.relay import Relay, relay_to
from tests.unit.databases import AddDatabase
from tests.unit.fakes import Task

BOUND = 0.5  # seconds, instead of what the documentation says
SLACK = 4.0  # on a busy machine
DEADLINE = 30.0


@pytest.fixture(autouse=True)
def short_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PING_TIMEOUT", "RESET_TIMEOUT"):
        monkeypatch.setattr(dialect, name, BOUND)
    monkeypatch.setattr(setup_timeout, "SETUP_TIMEOUT", BOUND)


@pytest.fixture
def relay(scratch: Scratch) -> Iterator[Relay]:
    with relay_to(scratch.account.host, scratch.account.port) as relay:
        yield relay


@pytest.fixture
def account(relay: Relay, scratch: Scratch) -> Account:
    return replace(scratch.account, host="127.0.0.1", port=relay.port)


def _timed(function: Callable[[], Any]) -> float:
    started = time.monotonic()
    function()
    return time.monotonic() - started


def _variable(alias: str) -> None:
    run(alias, "SET @left = 1")


def _transaction(alias: str) -> None:
    connections[alias].set_autocommit(False)
    run(alias, "INSERT INTO t VALUES (1)")


def _dropped_autocommit(alias: str) -> None:
    connections[alias].set_autocommit(False)


LEFT: dict[str, Callable[[str], None]] = {
    "a variable": _variable,
    "a transaction": _transaction,
    "autocommit off": _dropped_autocommit,
}
POOLS: dict[str, dict[str, Any]] = {
    "ours": {"pool_size": 1},
    "transaction mode": {"pool_size": 1, "mode": "transaction"},
    "SQLAlchemy's": {"poolclass": "QueuePool", "pool_size": 1, "max_overflow": 0},
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("left", LEFT)
def test_a_return_ends_and_its_place_is_free(
    left: str, pool: str, relay: Relay, account: Account, add_pooled: AddDatabase
) -> None:
    alias = add_pooled(to=account, timeout=5, **POOLS[pool])
    LEFT[left](alias)
    relay.silence()
    assert _timed(lambda: return_connection(alias)) < BOUND + SLACK
    relay.heal()
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 0
    assert fetch(alias, "SELECT @left") is None
    assert stats(alias).total == 1


def test_a_reset_of_a_clean_session_ends_too(
    relay: Relay, account: Account, add_pooled: AddDatabase
) -> None:
    alias = add_pooled(to=account, pool_size=1, timeout=5, reset="always")
    fetch(alias, "SELECT 1")
    relay.silence()
    assert _timed(lambda: return_connection(alias)) < BOUND + SLACK
    assert stats(alias).total == 0
    relay.heal()
    assert fetch(alias, "SELECT 7") == 7


@pytest.mark.parametrize("mode", MODES)
def test_a_ping_ends_and_the_next_connect_too(
    mode: str, relay: Relay, account: Account, add_pooled: AddDatabase
) -> None:
    options = {"connect_timeout": 1}
    alias = add_pooled(options, to=account, pool_size=1, timeout=5, ping_after=0, mode=mode)
    fetch(alias, "SELECT 1")
    return_connection(alias)
    relay.silence()

    def borrow() -> None:
        with pytest.raises(OperationalError):
            fetch(alias, "SELECT 1")

    assert _timed(borrow) < BOUND + 1 + SLACK
    relay.heal()
    assert fetch(alias, "SELECT 7") == 7


CUTS = 24


@pytest.mark.parametrize("mode", MODES)
def test_wherever_the_opening_of_a_session_is_cut_off_it_ends(
    mode: str, scratch: Scratch, add_pooled: AddDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through login, the driver's own statements, Django's and ours; all at the same time."""
    options = {"connect_timeout": 1, "read_timeout": 2}  # for the unit's own statement, at the end
    account = scratch.account
    monkeypatch.setattr(setup_timeout, "SETUP_TIMEOUT", 2.0)  # for 24 at a time on a busy machine

    @auto_close_db
    def borrow(alias: str) -> None:
        fetch(alias, "SELECT 1")

    with ExitStack() as stack:
        relays = [
            stack.enter_context(relay_to(account.host, account.port)) for _ in range(CUTS + 1)
        ]
        aliases = [
            add_pooled(
                options,
                to=replace(account, host="127.0.0.1", port=relay.port),
                mode=mode,
                timeout=5,
            )
            for relay in relays
        ]
        borrow(aliases.pop())
        total = relays.pop().from_server
        assert total > 300, "the set-up is not seen"
        for number, relay in enumerate(relays):
            relay.silence(after=total * number // CUTS)
        tasks = [Task(borrow, alias) for alias in aliases]
        for number, task in enumerate(tasks):
            task.join(2 + 2 + SLACK)
            assert not task.is_alive(), f"it hangs at {number} of {CUTS}"
        # The first one may have asked more, on behalf of all.
        cut_off = [task for task, relay in zip(tasks, relays, strict=True) if relay.is_silent]
        assert len(cut_off) > CUTS / 2
        assert all(isinstance(task.error, OperationalError) for task in cut_off)
        for relay in relays:
            relay.heal()
        for alias in aliases:
            borrow(alias)


@pytest.mark.parametrize("mode", MODES)
def test_a_unit_has_the_bound_of_read_timeout(
    mode: str, relay: Relay, account: Account, add_pooled: AddDatabase
) -> None:
    options = {"read_timeout": 1, "connect_timeout": 1}
    alias = add_pooled(options, to=account, pool_size=1, timeout=5, mode=mode)
    fetch(alias, "SELECT 1")

    def insert() -> None:
        with transaction.atomic(using=alias):
            relay.silence()
            run(alias, "INSERT INTO t VALUES (1)")

    def unit() -> None:
        with pytest.raises(OperationalError):
            insert()
        return_connection(alias)

    # The statement waits; then Django closes the connection, and tries to connect.
    assert _timed(unit) < 2 + BOUND + SLACK
    relay.heal()
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 0


def test_to_close_a_pool_ends(relay: Relay, account: Account, add_pooled: AddDatabase) -> None:
    alias = add_pooled(to=account, pool_size=5)
    barrier = threading.Barrier(5)

    @auto_close_db
    def borrow() -> None:
        fetch(alias, "SELECT 1")
        barrier.wait(DEADLINE)

    for task in [Task(borrow) for _ in range(5)]:
        task.join(DEADLINE)
    relay.silence()
    assert _timed(lambda: close_pool(alias)) < BOUND + SLACK


@session_mode_only
def test_to_close_a_connection_that_takes_no_more_data_ends(
    relay: Relay, account: Account, add_pooled: AddDatabase
) -> None:
    alias = add_pooled(to=account, pool_size=1, timeout=5)
    fetch(alias, "SELECT 1")
    relay.stop_reading()
    with socket.socket(fileno=os.dup(connections[alias].connection.fileno())) as duplicate:
        duplicate.setblocking(False)
        with suppress(BlockingIOError):
            while True:  # no packet of the protocol's, but nobody will read it
                duplicate.send(bytes(1_000_000))
        duplicate.setblocking(True)
    close_pool(alias)
    assert _timed(lambda: return_connection(alias)) < SLACK
    assert stats(alias).total == 0


@pytest.mark.parametrize("mode", MODES)
def test_rows_that_nobody_reads_to_the_end_hold_nobody_up(
    mode: str, relay: Relay, account: Account, add_pooled: AddDatabase
) -> None:
    options = {"read_timeout": 1}
    alias = add_pooled(options, to=account, pool_size=1, timeout=5, mode=mode)
    connections[alias].ensure_connection()
    cursor = connections[alias].connection.cursor(SSCursor)
    relay.silence(after=10_000)
    cursor.execute("SELECT REPEAT('x', 1000) FROM information_schema.COLLATIONS LIMIT 100")
    cursor.fetchone()
    wait_until(lambda: relay.is_silent, DEADLINE, "all rows have come")
    beats = []
    pulse = threading.Thread(target=lambda: [beats.append(time.sleep(0.01)) for _ in range(30)])
    pulse.start()

    def drop() -> None:
        nonlocal cursor
        del cursor
        return_connection(alias)

    assert _timed(drop) < 1 + BOUND + SLACK
    assert beats, "all threads stood still"
    pulse.join()
    relay.heal()
    assert fetch(alias, "SELECT 7") == 7


def test_those_who_wait_for_the_place_get_it(
    relay: Relay, account: Account, add_pooled: AddDatabase
) -> None:
    alias = add_pooled({"connect_timeout": 1}, to=account, pool_size=1, timeout=DEADLINE)
    _variable(alias)
    relay.silence()
    task = Task(fetch, alias, "SELECT 7")
    wait_until(lambda: stats(alias).waiting == 1, DEADLINE, "nobody waits")
    return_connection(alias)
    task.join(1 + BOUND + SLACK)
    assert isinstance(task.error, OperationalError), "it has tried to connect"
    relay.heal()
    assert fetch(alias, "SELECT 7") == 7
