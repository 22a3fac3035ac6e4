"""Threads that never return a connection, wait for themselves or hold one for too long."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connections, transaction

from pooldaemon.exceptions import PoolDeadlock
from tests.mysql.scratch import Scratch
from tests.mysql.use import fetch, return_connection, run, session_id, stats
from tests.support.mode import session_mode_only
from tests.support.poll import wait_until
from tests.support.promise import assert_within
from tests.unit.databases import AddDatabase

pytestmark = pytest.mark.mysql

DEADLINE = 30.0
THREADS = 1000


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def in_thread(function: Callable[[], Any]) -> None:
    thread = threading.Thread(target=function, name="careless")
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive()


@pytest.mark.usefixtures("_no_collector")
def test_a_thousand_threads_that_end_with_their_connections_leave_room(
    add_pooled: AddDatabase, scratch: Scratch
) -> None:
    alias = add_pooled(pool_size=2, timeout=0.5)
    done = []

    def use_and_end() -> None:
        done.append(fetch(alias, "SELECT 1"))

    logging.getLogger("pooldaemon.pool").disabled = True
    try:
        for _ in range(THREADS):
            in_thread(use_and_end)
    finally:
        logging.getLogger("pooldaemon.pool").disabled = False
    assert len(done) == THREADS
    assert len(scratch.sessions()) <= 2
    assert stats(alias).timeouts == 0
    assert stats(alias).peak <= 2


@pytest.mark.usefixtures("_no_collector")
def test_the_transaction_of_a_thread_that_ended_is_rolled_back(
    add_pooled: AddDatabase, scratch: Scratch, caplog: pytest.LogCaptureFixture
) -> None:
    alias = add_pooled(pool_size=1, timeout=5)
    run(alias, "INSERT INTO t VALUES (1)")
    return_connection(alias)

    def lock_and_end() -> None:
        transaction.atomic(using=alias).__enter__()
        run(alias, "UPDATE t SET n = 2")

    in_thread(lock_and_end)
    with caplog.at_level(logging.WARNING, "pooldaemon.pool"):
        run(alias, "UPDATE t SET n = n + 10")  # would wait for the row's lock
    assert fetch(alias, "SELECT n FROM t") == 11
    assert "the thread careless has ended without returning the connection" in caplog.text
    assert "test_owners.py" in caplog.text
    assert stats(alias).discards["thread ended"] == 1
    assert len(scratch.sessions()) == 1


@pytest.mark.usefixtures("_no_collector")
@session_mode_only
def test_a_wrapper_that_outlives_its_thread_has_no_connection_any_more(
    add_pooled: AddDatabase,
) -> None:
    alias = add_pooled(pool_size=1, timeout=5)
    wrappers: list[Any] = []

    def use_and_end() -> None:
        run(alias, "SELECT 1")
        wrappers.append(connections[alias])

    in_thread(use_and_end)
    mine = session_id(alias)
    (orphaned,) = wrappers
    orphaned.inc_thread_sharing()
    with pytest.raises((InterfaceError, OperationalError)), orphaned.cursor() as cursor:
        cursor.execute("SELECT 1")
    orphaned.close()
    assert session_id(alias) == mine
    assert stats(alias).in_use == 1


@pytest.mark.usefixtures("_no_collector")
def test_a_connection_that_threads_share_survives_the_one_that_opened_it(
    add_pooled: AddDatabase,
) -> None:
    alias = add_pooled(pool_size=2, timeout=5)
    wrapper: Any = connections[alias]
    wrapper.inc_thread_sharing()
    opened: list[int] = []

    def open_for_all() -> None:
        connections[alias] = wrapper
        opened.append(session_id(alias))

    in_thread(open_for_all)
    in_thread(lambda: return_after(alias, lambda: run(alias, "SELECT 1")))
    assert session_id(alias) == opened[0]
    wrapper.dec_thread_sharing()


def return_after(alias: str, work: Callable[[], None]) -> None:
    work()
    return_connection(alias)


def test_a_thread_that_waits_for_itself_gets_an_error_within_a_tenth_of_a_second(
    add_pooled: AddDatabase,
) -> None:
    alias, twin = (add_pooled(pool_size=1, timeout=30) for _ in range(2))  # they share a pool
    with transaction.atomic(using=alias):
        run(alias, "SELECT 1")

        def error_after() -> float:
            started = time.monotonic()
            with pytest.raises(
                PoolDeadlock, match=r"wait for itself.* borrowed at \S+/test_owners.py:\d+ in"
            ):
                run(twin, "SELECT 1")
            return time.monotonic() - started

        assert_within(0.1, error_after)
    return_connection(alias)
    run(twin, "SELECT 1")


@session_mode_only
def test_a_leak_is_logged_with_the_shape_of_its_last_statement(
    add_pooled: AddDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    alias = add_pooled(pool_size=1, leak_threshold=0.5)
    run(alias, "SELECT 1")  # to connect takes time too
    return_connection(alias)
    with caplog.at_level(logging.WARNING, "pooldaemon.pool"):
        fetch(alias, "SELECT %s, 'literal', n FROM t WHERE n > 7 UNION SELECT 1, 2, 3", ["secret"])
        wait_until(lambda: bool(caplog.records), DEADLINE, "nobody noticed")
        return_connection(alias)
    leak, back = (record.getMessage() for record in caplog.records)
    assert "MainThread has held a connection for 0." in leak
    assert "use.py" in leak
    assert leak.endswith("SELECT ?, ?, n FROM t WHERE n > ? UNION SELECT ?, ?, ?")
    assert "was returned after" in back


def test_a_close_from_another_thread_ends_a_running_statement_and_hurts_nobody_else(
    add_pooled: AddDatabase, scratch: Scratch
) -> None:
    alias = add_pooled(pool_size=1, timeout=10)
    run(alias, "INSERT INTO t VALUES (1)")
    return_connection(alias)
    wrappers: list[Any] = []
    outcomes: list[Any] = []

    def sleep() -> None:
        connections[alias].inc_thread_sharing()
        wrappers.append(connections[alias])
        try:
            outcomes.append(fetch(alias, "SELECT SLEEP(2)"))
        except Exception as error:  # noqa: BLE001 - it is the outcome
            outcomes.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    wait_until(
        lambda: any("SLEEP" in (one.statement or "") for one in scratch.sessions()),
        DEADLINE,
        "never asleep",
    )
    wrappers[0].close()
    assert fetch(alias, "SELECT n FROM t") == 1
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert isinstance(outcomes[0], (OperationalError, InterfaceError)), outcomes
    assert fetch(alias, "SELECT n FROM t") == 1
