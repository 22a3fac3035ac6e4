"""Every field of PoolTimeout and of pool_stats(), on a real server."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from django.db import Error as DjangoError
from django.db import OperationalError, connections

from pooldaemon import pool_stats
from pooldaemon.exceptions import PoolTimeout, TooManyWaiters
from pooldaemon.pool.registry import registry
from pooldaemon.stats import BOUNDS, PoolStats
from tests.mysql.scratch import Scratch
from tests.stress.conftest import MakeScratch
from tests.support.poll import wait_until
from tests.support.server import Server
from tests.unit.databases import AddDatabase

pytestmark = pytest.mark.mysql

DEADLINE = 30.0


@pytest.fixture
def scratch(make_scratch: MakeScratch) -> Scratch:
    return make_scratch()


@pytest.fixture
def alias(add_database: AddDatabase, scratch: Scratch) -> str:
    registry.limit({})  # no pool but that of the test
    pool = {"pool_size": 2, "timeout": 0.3, "max_waiting": 1}
    return add_database(**scratch.account.settings(OPTIONS={"pool": pool}))


@contextmanager
def holder(alias: str, name: str) -> Iterator[None]:
    """A thread that has borrowed."""
    borrowed, done = threading.Event(), threading.Event()

    def hold() -> None:
        connections[alias].ensure_connection()
        borrowed.set()
        done.wait(DEADLINE)
        connections[alias].close()

    thread = threading.Thread(target=hold, name=name, daemon=True)
    thread.start()
    assert borrowed.wait(DEADLINE)
    try:
        yield
    finally:
        done.set()
        thread.join(DEADLINE)


def timed_out(alias: str) -> PoolTimeout:
    with pytest.raises(PoolTimeout) as caught:
        connections[alias].ensure_connection()
    return caught.value


def only_stats() -> PoolStats:
    (stats,) = pool_stats()
    return stats


@pytest.fixture
def full(alias: str) -> Iterator[None]:
    with ExitStack() as holders:
        holders.enter_context(holder(alias, "first-holder"))
        # So that their ages differ as printed.
        wait_until(lambda: only_stats().holders[0].seconds > 0.06, DEADLINE, "time stands still")
        holders.enter_context(holder(alias, "second-holder"))
        yield


@pytest.mark.usefixtures("full")
def test_a_timeout_carries_what_it_knows(alias: str, scratch: Scratch) -> None:
    started = time.monotonic()
    error = timed_out(alias)
    took = time.monotonic() - started
    assert isinstance(error, OperationalError)
    assert 0.25 <= error.waited <= took
    assert error.stats is not None
    stats = error.stats
    assert (stats.total, stats.in_use, stats.idle, stats.cap, stats.timeouts) == (2, 2, 0, 2, 1)
    assert [one.thread for one in stats.holders] == ["first-holder", "second-holder"]
    assert stats.holders[0].seconds > stats.holders[1].seconds > 0.2
    assert all(re.search(r"test_pool_stats\.py:\d+ in hold$", one.place) for one in stats.holders)
    assert error.last_connect_error is None
    assert error.__cause__ is None
    assert scratch.account.password not in f"{error!r}{error.stats}"


@pytest.mark.usefixtures("full")
def test_a_timeout_prints_what_it_knows(alias: str, scratch: Scratch) -> None:
    account = scratch.account
    text = str(timed_out(alias))
    assert f"{account.user}@{account.host}:{account.port}/{account.name}" in text
    for part in ("2 open", "2 in use", "0 idle", "waiting", "cap 2", "timeout=0.3"):
        assert part in text
    assert re.search(r"in 0\.\d s", text)
    for name in ("first-holder", "second-holder"):
        assert re.search(
            rf"{name} for \d\.\d s, borrowed at \S+test_pool_stats\.py:\d+ in hold", text
        )
    assert "pool_size or timeout" in text
    assert "Last connect error" not in text


def test_a_timeout_counts_those_who_wait(add_database: AddDatabase, scratch: Scratch) -> None:
    pool = {"pool_size": 1, "timeout": 1}
    alias = add_database(**scratch.account.settings(OPTIONS={"pool": pool}))
    errors: list[PoolTimeout] = []
    with holder(alias, "holder"):
        waiters = [
            threading.Thread(target=lambda: errors.append(timed_out(alias))) for _ in range(3)
        ]
        for waiter in waiters:
            waiter.start()
        for waiter in waiters:
            waiter.join(DEADLINE)
    assert len(errors) == 3
    assert max(error.stats.waiting for error in errors if error.stats) >= 1


def test_a_timeout_does_not_have_a_connect_error_that_is_over(
    add_database: AddDatabase, scratch: Scratch
) -> None:
    """One that is not over: test_faults.py, a server that never answers."""
    settings = scratch.account.settings(OPTIONS={"pool": {"pool_size": 1, "timeout": 0.3}})
    alias = add_database(**settings)
    user = f"'{scratch.account.user}'@'%'"
    scratch.admin.query(f"ALTER USER {user} ACCOUNT LOCK")
    with pytest.raises(OperationalError, match="locked"):
        connections[alias].ensure_connection()
    scratch.admin.query(f"ALTER USER {user} ACCOUNT UNLOCK")
    with holder(alias, "holder"):
        error = timed_out(alias)
    assert error.last_connect_error is None
    assert "Last connect error" not in str(error)


def test_a_timeout_behind_an_abandoned_session_carries_all_of_it_too(
    add_database: AddDatabase, scratch: Scratch
) -> None:
    pool = {"pool_size": 1, "timeout": 0.5}
    registry.limit({})
    settings = scratch.account.settings(OPTIONS={"read_timeout": 1, "pool": pool})
    alias = add_database(**settings)
    with pytest.raises(DjangoError), connections[alias].cursor() as cursor:
        cursor.execute("SELECT SLEEP(4)")
    connections[alias].close()
    started = time.monotonic()
    error = timed_out(alias)
    assert 0.4 <= error.waited <= time.monotonic() - started
    assert error.stats is not None
    assert (error.stats.total, error.stats.idle, error.stats.cap) == (1, 0, 1)
    assert scratch.account.name in str(error)
    # Without anybody borrowing: what has ended on the server is not counted any more.
    wait_until(lambda: not scratch.sessions(), DEADLINE, "the statement runs for ever")
    wait_until(lambda: only_stats().total == 0, DEADLINE, "it is still counted")


def test_the_wait_for_a_place_and_for_the_server_are_one_timeout(
    add_database: AddDatabase, on_server: Callable[..., tuple[Server, str]]
) -> None:
    server, alias = on_server(pool_size=1, timeout=2)
    rival = add_database(**connections[alias].settings_dict | {"OPTIONS": {"pool": False}})
    took: list[float] = []

    def borrow() -> None:
        started = time.monotonic()
        with pytest.raises(OperationalError):
            connections[alias].ensure_connection()
        took.append(time.monotonic() - started)

    connections[rival].ensure_connection()
    connections[alias].ensure_connection()
    # From now on the account is full with the rival alone.
    server.admin.query("SET GLOBAL max_user_connections = 1")
    waiter = threading.Thread(target=borrow)
    waiter.start()
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 1.5, DEADLINE, "most of the waiter's timeout")
    connections[alias].pool.close()  # type: ignore[attr-defined]
    connections[alias].close()
    waiter.join(DEADLINE)
    assert 1.5 < took[0] < 2.5


def use(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
    connections[alias].close()


def test_a_new_pool_reports_its_name_class_and_cap(alias: str, scratch: Scratch) -> None:
    assert connections[alias].pool is not None  # type: ignore[attr-defined]
    stats = only_stats()
    assert scratch.account.name in stats.name
    assert scratch.account.password not in repr(stats)
    assert (stats.poolclass, stats.cap, stats.min_idle) == ("FairQueuePool", 2, 0)
    assert stats.aliases == (alias,)
    numbers = (stats.total, stats.peak, stats.connects, stats.in_use, stats.idle, stats.waiting)
    assert numbers == (0, 0, 0, 0, 0, 0)
    assert (stats.timeouts, stats.rejected, stats.connect_errors, stats.resets) == (0, 0, 0, 0)
    assert (stats.holders, dict(stats.discards)) == ((), {})
    assert (stats.wait.count, stats.use.count, stats.connect.count) == (0, 0, 0)


def test_a_pool_counts_what_is_in_use_idle_and_open(alias: str) -> None:
    use(alias)
    with holder(alias, "holder"):
        stats = only_stats()
        assert (stats.total, stats.in_use, stats.idle, stats.connects) == (1, 1, 0, 1)
        assert [one.thread for one in stats.holders] == ["holder"]
        with holder(alias, "other"):
            assert (only_stats().total, only_stats().in_use) == (2, 2)
    stats = only_stats()
    assert (stats.total, stats.in_use, stats.idle, stats.peak) == (2, 0, 2, 2)
    connections[alias].pool.close()  # type: ignore[attr-defined]
    stats = only_stats()
    assert (stats.total, stats.idle, stats.peak) == (0, 0, 2)
    assert dict(stats.discards) == {"pool closed": 2}


@pytest.mark.usefixtures("full")
def test_a_pool_counts_those_who_wait_give_up_and_are_rejected(alias: str) -> None:
    waiter = threading.Thread(target=lambda: timed_out(alias))
    waiter.start()
    wait_until(lambda: only_stats().waiting == 1, DEADLINE, "nobody waits")
    with pytest.raises(TooManyWaiters):
        connections[alias].ensure_connection()
    waiter.join(DEADLINE)
    stats = only_stats()
    assert (stats.waiting, stats.timeouts, stats.rejected) == (0, 1, 1)


def test_a_pool_counts_failed_connects(alias: str, scratch: Scratch) -> None:
    user = f"'{scratch.account.user}'@'%'"
    scratch.admin.query(f"ALTER USER {user} ACCOUNT LOCK")
    for _ in range(3):
        with pytest.raises(OperationalError):
            connections[alias].ensure_connection()
    stats = only_stats()
    assert (stats.connect_errors, stats.connects, stats.total) == (3, 0, 0)


def test_a_pool_counts_resets(alias: str) -> None:
    use(alias)
    assert only_stats().resets == 0
    for number in range(3):
        with connections[alias].cursor() as cursor:
            cursor.execute("SET @a = 1")
        connections[alias].close()
        assert only_stats().resets == number + 1


def test_a_pool_reports_why_it_closed_connections(alias: str, scratch: Scratch) -> None:
    use(alias)
    scratch.admin.kill(scratch.sessions()[0].id)
    wait_until(lambda: not scratch.sessions(), DEADLINE, "not killed")
    use(alias)
    assert dict(only_stats().discards) == {"dead": 1}
    connections[alias].ensure_connection()
    scratch.admin.kill(scratch.sessions()[0].id)
    with pytest.raises(OperationalError):
        use(alias)
    connections[alias].close()
    assert dict(only_stats().discards) == {"dead": 1, "broken": 1}
    pool: Any = connections[alias].pool  # type: ignore[attr-defined]
    with holder(alias, "one"), holder(alias, "two"):
        pool.resize(1)
    assert only_stats().discards["resized"] == 1


def bucket(seconds: float) -> int:
    return sum(bound < seconds for bound in BOUNDS)


def test_a_pool_reports_how_long_things_took(alias: str) -> None:
    pool: Any = connections[alias].pool  # type: ignore[attr-defined]
    pool.resize(1)
    with holder(alias, "holder"):
        waiter = threading.Thread(target=use, args=[alias])
        started = time.monotonic()
        waiter.start()
        wait_until(lambda: only_stats().waiting == 1, DEADLINE, "nobody waits")
        # Into another bucket than those who need not wait.
        wait_until(lambda: time.monotonic() > started + 0.12, DEADLINE, "time stands still")
    waiter.join(DEADLINE)
    took = time.monotonic() - started
    stats = only_stats()
    assert (stats.wait.count, stats.use.count, stats.connect.count) == (2, 2, 1)
    assert 0.1 < stats.wait.total < took
    assert stats.wait.counts[0] == 1
    assert sum(stats.wait.counts[bucket(0.11) : bucket(took) + 1]) == 1
    assert stats.use.total > 0.1
    assert 0 < stats.connect.total < took


def test_a_pool_reports_that_it_is_paused(alias: str) -> None:
    use(alias)
    pool: Any = connections[alias].pool  # type: ignore[attr-defined]
    for step, paused in ((pool.pause, True), (pool.resume, False)):
        step()
        assert only_stats().paused is paused


def test_no_field_was_forgotten_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [one.name for one in fields(PoolStats) if f".{one.name}" not in text] == []


def test_a_snapshot_cannot_be_changed(alias: str) -> None:
    use(alias)
    stats: Any = only_stats()
    with pytest.raises(AttributeError):
        stats.total = 7
    with pytest.raises(TypeError):
        stats.discards["dead"] = 7
