"""Transaction mode between two statements of a unit: nobody notices that its connection waits."""

import threading
import time
from typing import Any

import pytest
from django.db import connections
from pytest_django import Settings

from pooldaemon import auto_close_db
from pooldaemon.pool.queue.affinity import ALIVE_BYPASS
from tests.mysql.scratch import Scratch
from tests.mysql.use import fetch, return_connection, run, session_id, stats
from tests.support.poll import wait_until
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE, Task

pytestmark = pytest.mark.mysql


def pool_of(alias: str) -> Any:
    return connections[alias].pool._pool  # type: ignore[attr-defined]


def is_parked(alias: str) -> bool:
    return len(pool_of(alias)._affinity) == 1


@pytest.fixture
def alias(add_pooled: AddDatabase) -> str:
    """Of two connections, one is open and parked."""
    alias = add_pooled(mode="transaction", pool_size=2, timeout=5)
    fetch(alias, "SELECT 1")
    assert is_parked(alias)
    return alias


def test_a_parked_connection_counts_as_idle(alias: str) -> None:
    now = stats(alias)
    assert (now.in_use, now.idle, now.holders, now.use.count) == (0, 1, (), 1)
    assert "1 open, 0 in use, 1 idle" in pool_of(alias).status()
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
        now = stats(alias)
        assert (now.in_use, now.idle, now.use.count) == (1, 0, 1)
        assert "test_affinity.py" in now.holders[0].place
    return_connection(alias)
    now = stats(alias)
    assert (now.in_use, now.idle, now.use.count, now.wait.count) == (0, 1, 2, 2)


def test_another_thread_is_lent_it_rather_than_a_new_one(alias: str) -> None:
    number = session_id(alias)
    assert Task(auto_close_db(session_id), alias).result() == number
    assert stats(alias).connects == 1


def test_one_that_was_called_in_and_parked_by_another_is_not_taken_for_ones_own(
    alias: str,
) -> None:
    number = session_id(alias)
    parked, done = threading.Event(), threading.Event()

    def park_too() -> list[int]:
        seen = [session_id(alias)]
        parked.set()
        assert done.wait(DEADLINE)
        return [*seen, session_id(alias)]

    other = Task(auto_close_db(park_too))
    assert parked.wait(DEADLINE)
    assert session_id(alias) == number
    done.set()
    assert other.result() == [number, number]
    assert stats(alias).connects == 1


def test_those_who_wait_get_it_from_a_thread_that_parks(add_pooled: AddDatabase) -> None:
    alias = add_pooled(mode="transaction", pool_size=1, timeout=5)
    cursor = connections[alias].cursor()
    other = Task(auto_close_db(fetch), alias, "SELECT 7")
    wait_until(lambda: stats(alias).waiting == 1, DEADLINE, "nobody waits")
    cursor.close()
    assert other.result() == 7


def test_a_thread_that_ends_meanwhile_has_returned_its_connection(
    alias: str, caplog: pytest.LogCaptureFixture
) -> None:
    thread = threading.Thread(target=fetch, args=(alias, "SELECT 1"))
    return_connection(alias)
    thread.start()
    thread.join(DEADLINE)
    assert stats(alias).idle == 1
    fetch(alias, "SELECT 1")
    assert stats(alias).connects == 1
    assert caplog.messages == []


def test_one_that_the_server_ended_is_replaced_unseen(alias: str, scratch: Scratch) -> None:
    number = session_id(alias)
    parked = time.monotonic()
    scratch.admin.query(f"KILL {number}")
    wait_until(lambda: scratch.sessions() == [], DEADLINE, "it was not killed")
    wait_until(lambda: time.monotonic() > parked + ALIVE_BYPASS, DEADLINE, "time to pass")
    assert session_id(alias) != number
    assert stats(alias).discards == {"dead": 1}


def test_a_closed_pool_leaves_none_open(alias: str, scratch: Scratch) -> None:
    connections[alias].pool.close()  # type: ignore[attr-defined]
    wait_until(lambda: scratch.sessions() == [], DEADLINE, "it is still there")
    assert fetch(alias, "SELECT 3") == 3


def test_a_smaller_pool_has_fewer(alias: str, scratch: Scratch) -> None:
    def park() -> None:
        fetch(alias, "SELECT 1")
        with connections[alias].cursor():
            Task(auto_close_db(fetch), alias, "SELECT 1").result()

    park()
    assert len(scratch.sessions()) == 2
    connections[alias].pool.resize(1)  # type: ignore[attr-defined]
    wait_until(lambda: len(scratch.sessions()) == 1, DEADLINE, "it is still there")
    assert fetch(alias, "SELECT 3") == 3


def test_another_pool_gets_its_place_under_the_limit_of_the_process(
    add_pooled: AddDatabase, settings: Settings
) -> None:
    settings.POOLDAEMON = {"MAX_PROCESS_CONNECTIONS": 1}
    first = add_pooled(mode="transaction", pool_size=1, timeout=5)
    second = add_pooled(mode="transaction", pool_size=2, timeout=5)
    for _ in range(2):
        assert fetch(first, "SELECT 1") == 1
        assert fetch(second, "SELECT 2") == 2
    assert stats(first).total + stats(second).total == 1


def test_what_ran_on_it_before_is_no_more_known_than_on_another(alias: str) -> None:
    run(alias, "CREATE TABLE ids (n INT AUTO_INCREMENT PRIMARY KEY)")
    return_connection(alias)
    try:
        run(alias, "INSERT INTO ids VALUES ()")
        assert is_parked(alias)
        with pytest.raises(Exception, match="pinned"):
            fetch(alias, "SELECT LAST_INSERT_ID()")
    finally:
        run(alias, "DROP TABLE ids")


def test_the_leak_watch_sees_every_return(add_pooled: AddDatabase) -> None:
    alias = add_pooled(mode="transaction", pool_size=1, leak_threshold=60)
    fetch(alias, "SELECT 1")
    assert not is_parked(alias)
    assert stats(alias).idle == 1


def test_a_paused_pool_is_not_borrowed_from_in_this_way(alias: str) -> None:
    pool = connections[alias].pool  # type: ignore[attr-defined]
    with connections[alias].cursor() as cursor:
        pool.pause()
        cursor.execute("SELECT 1")
    waits = Task(auto_close_db(fetch), alias, "SELECT 2")
    wait_until(lambda: stats(alias).waiting == 1, DEADLINE, "nobody waits")
    assert not is_parked(alias)
    pool.resume()
    assert waits.result() == 2
    assert fetch(alias, "SELECT 3") == 3
