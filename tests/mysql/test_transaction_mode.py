"""mode="transaction": who holds the connection for how long, and that nobody misses anything."""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from MySQLdb import InterfaceError
from MySQLdb.cursors import SSCursor
from pytest_django import Settings

from pooldaemon import auto_close_db, use_database
from pooldaemon.checks import check_pool_settings
from tests.mysql.scratch import Scratch
from tests.mysql.test_backend import status  # noqa: F401  # a fixture
from tests.mysql.use import fetch, return_connection, run, session_id, stats
from tests.support.poll import wait_until
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE, Task


@pytest.fixture
def alias(add_pooled: AddDatabase) -> str:
    return add_pooled(mode="transaction", pool_size=1, timeout=5)


def held(alias: str) -> bool:
    return stats(alias).in_use > 0


def other(alias: str, sql: str) -> Any:
    """What another thread is answered, on the same connection."""
    return Task(auto_close_db(fetch), alias, sql).result()


class HookError(Exception):
    pass


def test_a_connection_goes_back_after_each_statement(alias: str) -> None:
    run(alias, "INSERT INTO t VALUES (1)")
    assert not held(alias)
    assert other(alias, "SELECT COUNT(*) FROM t") == 1
    assert not held(alias)


def test_a_statement_is_one_question(alias: str, status: str) -> None:  # noqa: F811
    before = fetch(alias, status, ["Questions"])
    for _ in range(20):
        fetch(alias, "SELECT 1")
    assert fetch(alias, status, ["Questions"]) == before + 20 + 1
    with transaction.atomic(using=alias):
        run(alias, "INSERT INTO t VALUES (1)")
    # autocommit off, INSERT, COMMIT, autocommit on
    assert fetch(alias, status, ["Questions"]) == before + 20 + 1 + 4 + 1
    assert (stats(alias).connects, stats(alias).resets) == (1, 0)


def test_it_goes_back_when_the_last_cursor_is_closed_not_the_first(alias: str) -> None:
    connection = connections[alias]
    first, second = connection.cursor(), connection.cursor()
    first.execute("SELECT 1")
    second.close()
    assert held(alias)
    with connection.cursor() as third:
        third.execute("INSERT INTO t VALUES (1)")
    assert held(alias)
    assert first.fetchall() == ((1,),)
    first.close()
    assert not held(alias)
    first.close()
    assert not held(alias)


def test_a_cursor_that_is_dropped_counts_as_closed(alias: str) -> None:
    cursor = connections[alias].cursor()
    cursor.execute("SELECT 1")
    assert held(alias)
    del cursor
    assert not held(alias)


def test_a_cursor_that_ends_in_another_thread_leaves_the_connection_to_the_units_end(
    alias: str,
) -> None:
    cursors = [connections[alias].cursor(), connections[alias].cursor()]

    def end() -> None:
        cursors.pop().close()
        cursors.pop()

    Task(end).result()
    run(alias, "INSERT INTO t VALUES (1)")
    assert held(alias)
    return_connection(alias)
    assert not held(alias)


def test_rows_read_one_by_one_hold_it_until_they_are_given_up(alias: str) -> None:
    run(alias, "INSERT INTO t VALUES (1), (2), (3)")
    cursor = connections[alias].connection.cursor(SSCursor)
    assert held(alias)
    cursor.execute("SELECT n FROM t")
    assert cursor.fetchone() == (1,)
    assert held(alias)
    del cursor
    assert not held(alias)
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 3
    assert stats(alias).connects == 1


def test_a_transaction_holds_it_until_commit_or_rollback(alias: str) -> None:
    for error in (None, HookError):
        try:
            with transaction.atomic(using=alias):
                run(alias, "INSERT INTO t VALUES (1)")
                with transaction.atomic(using=alias):
                    run(alias, "INSERT INTO t VALUES (2)")
                assert held(alias)
                if error:
                    raise error
        except HookError:
            pass
        assert not held(alias)
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 2


def test_hooks_run_after_it_went_back_also_when_they_raise(alias: str) -> None:
    seen: list[bool] = []

    def hook() -> None:
        seen.append(held(alias))
        run(alias, "INSERT INTO t VALUES (7)")
        raise HookError

    @transaction.atomic(using=alias)
    def unit() -> None:
        run(alias, "INSERT INTO t VALUES (1)")
        transaction.on_commit(hook, using=alias)

    with pytest.raises(HookError):
        unit()
    assert seen == [False]
    assert not held(alias)
    assert fetch(alias, "SELECT SUM(n) FROM t") == 8


STATE = {
    "a variable": ("SET @left = 5", "SELECT @left", 5, None),
    "a temporary table": (
        "CREATE TEMPORARY TABLE kept SELECT 5 AS a", "SELECT a FROM kept", 5, OperationalError),
    "a lock": ("SELECT GET_LOCK('pd_kept', 0)",
               "SELECT IS_USED_LOCK('pd_kept') = CONNECTION_ID()", 1, None),
    "a setting": ("SET foreign_key_checks = 0", "SELECT @@foreign_key_checks", 0, 1),
}  # fmt: skip


@pytest.mark.parametrize("left", STATE)
def test_what_a_later_statement_could_miss_stays_until_the_end_of_the_unit(
    alias: str, left: str
) -> None:
    leave, look, seen, gone = STATE[left]
    with auto_close_db():
        run(alias, leave)
        assert held(alias)
        fetch(alias, "SELECT 1")
        assert fetch(alias, look) == seen
    assert not held(alias)
    with auto_close_db():
        if gone is OperationalError:
            with pytest.raises(Exception, match="doesn't exist"):
                fetch(alias, look)
        else:
            assert fetch(alias, look) == gone
    assert stats(alias).connects == 1


def test_a_suspect_name_keeps_it_until_the_end_of_the_unit_and_others_do_not(
    add_pooled: AddDatabase, scratch: Scratch
) -> None:
    name = scratch.account.name
    scratch.admin.query(
        f"CREATE FUNCTION {name}.locks () RETURNS INT NO SQL RETURN GET_LOCK('{name}', 0)"
    )
    scratch.admin.query(f"CREATE VIEW {name}.seen AS SELECT {name}.locks() AS n")
    scratch.admin.query(f"CREATE VIEW {name}.harmless AS SELECT n FROM {name}.t")
    try:
        alias = add_pooled(mode="transaction", pool_size=1, ping_after=28)
        run(alias, "INSERT INTO t VALUES (1)")
        run(alias, "SELECT n FROM harmless")
        assert not held(alias)
        run(alias, "SELECT n FROM seen")
        assert held(alias)
        return_connection(alias)
        assert not held(alias)
    finally:
        scratch.admin.query(f"DROP VIEW {name}.seen, {name}.harmless")
        scratch.admin.query(f"DROP FUNCTION {name}.locks")


def test_pinned_keeps_one_session(add_pooled: AddDatabase) -> None:
    alias = add_pooled(mode="transaction", pool_size=3)
    connection: Any = connections[alias]
    with connection.pinned():
        first = session_id(alias)
        assert held(alias)
        other_thread = Task(session_id, alias).result()
        assert session_id(alias) == first != other_thread
        with connection.pinned():
            fetch(alias, "SELECT 1")
        assert held(alias)
    assert not held(alias)


def test_pinned_does_nothing_in_session_mode(add_pooled: AddDatabase) -> None:
    alias = add_pooled(mode="session", pool_size=1)
    with connections[alias].pinned():  # type: ignore[attr-defined]
        fetch(alias, "SELECT 1")
    assert held(alias)


def test_without_autocommit_it_is_pinned_and_a_check_says_so(
    add_database: AddDatabase, scratch: Scratch
) -> None:
    pool = {"mode": "transaction", "pool_size": 1}
    alias = add_database(**scratch.account.settings(AUTOCOMMIT=False, OPTIONS={"pool": pool}))
    run(alias, "INSERT INTO t VALUES (1)")
    transaction.commit(using=alias)
    run(alias, "INSERT INTO t VALUES (2)")
    assert held(alias)
    return_connection(alias)
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 1
    (message,) = (message for message in check_pool_settings() if message.obj == alias)
    assert message.id == "pooldaemon.W002"
    assert "AUTOCOMMIT" in message.msg


def test_a_handle_or_cursor_kept_over_the_end_of_the_unit_is_dead(alias: str) -> None:
    cursor = connections[alias].cursor()
    handle = connections[alias].connection
    cursor.execute("SELECT 1")
    return_connection(alias)
    for use in (handle.ping, lambda: handle.cursor().execute("SELECT 1"), lambda: handle.encoders):
        with pytest.raises(InterfaceError):
            use()
    with pytest.raises(Exception, match="returned to the pool"):
        cursor.execute("SELECT 1")
    assert not held(alias)


def test_the_drivers_connection_is_borrowed_for_each_call(alias: str) -> None:
    connection: Any = connections[alias]
    connection.ensure_connection()
    assert connection.connection.thread_id() == session_id(alias)
    assert not held(alias)
    assert connection.is_usable()
    assert not held(alias)
    connection.connection.query("SELECT 1")  # its result is still to be fetched
    assert held(alias)
    assert connection.connection.store_result().fetch_row() == ((1,),)
    assert held(alias)
    return_connection(alias)
    assert connection.schema_editor().quote_value("it's") == "'it\\'s'"


def test_a_lost_session_is_replaced_for_the_next_statement(alias: str, scratch: Scratch) -> None:
    number = session_id(alias)
    with connections[alias].cursor() as cursor:
        scratch.admin.query(f"KILL {number}")
        wait_until(lambda: scratch.sessions() == [], DEADLINE, "it was not killed")
        with pytest.raises(OperationalError):
            cursor.execute("SELECT 1")
    assert not held(alias)
    assert session_id(alias) != number


def test_a_lost_session_that_held_something_is_not_replaced_unseen(
    alias: str, scratch: Scratch
) -> None:
    run(alias, "SET @left = 5")
    scratch.admin.query(f"KILL {session_id(alias)}")
    wait_until(lambda: scratch.sessions() == [], DEADLINE, "it was not killed")
    for _ in range(2):
        with pytest.raises(OperationalError):
            fetch(alias, "SELECT @left")
    return_connection(alias)
    assert fetch(alias, "SELECT @left") is None


def test_a_transaction_whose_session_is_lost_is_not_carried_on(
    alias: str, scratch: Scratch
) -> None:
    @transaction.atomic(using=alias)
    def unit() -> None:
        run(alias, "INSERT INTO t VALUES (1)")
        scratch.admin.query(f"KILL {session_id(alias)}")
        wait_until(lambda: scratch.sessions() == [], DEADLINE, "it was not killed")
        for _ in range(2):
            with pytest.raises(OperationalError):
                run(alias, "INSERT INTO t VALUES (2)")

    with pytest.raises(OperationalError):
        unit()
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 0


@pytest.mark.parametrize(
    ("fork", "parent_holds"),
    [(os.fork, False), (os.fork, True), (ctypes.CDLL(None).fork, False)],
    ids=["idle", "held", "idle, from C"],
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_a_session_of_its_own(
    alias: str, fork: Callable[[], int], *, parent_holds: bool
) -> None:
    number = session_id(alias)
    cursor = connections[alias].cursor() if parent_holds else None
    pid = fork()
    if pid == 0:
        status = 1
        try:
            run(alias, "INSERT INTO t VALUES (1)")
            status = 0 if not held(alias) and session_id(alias) != number else 2
            return_connection(alias)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert session_id(alias) == number
    assert held(alias) is parent_holds
    del cursor
    assert not held(alias)
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 1


def test_a_pool_that_was_forgotten_in_the_middle_of_a_unit_is_found_anew(
    alias: str, settings: Settings
) -> None:
    settings.POOLDAEMON = {"MAX_POOLS": 1}
    first = session_id(alias)
    with use_database(alias, NAME="information_schema"):
        session_id(alias)
    assert session_id(alias) != first
    assert not held(alias)


@pytest.mark.parametrize(("threads", "connections_"), [(64, 8), (500, 16)])
def test_many_threads_share_few_connections_through_slow_work(
    add_pooled: AddDatabase, threads: int, connections_: int
) -> None:
    alias = add_pooled(mode="transaction", pool_size=connections_, timeout=30)
    start, stop = threading.Barrier(threads + 1), threading.Event()
    done = [0] * threads

    def work(index: int) -> None:
        start.wait()
        while not stop.is_set():
            with auto_close_db():
                fetch(alias, "SELECT COUNT(*) FROM t")
                stop.wait(0.05)  # the slow work
                run(alias, "INSERT INTO t VALUES (1)")
            done[index] += 1

    tasks = [Task(work, index) for index in range(threads)]
    start.wait()
    wait_until(lambda: min(done) > 1, 30, "a thread gets nothing")
    stop.set()
    for task in tasks:
        task.result()
    assert stats(alias).peak <= connections_
    assert fetch(alias, "SELECT COUNT(*) FROM t") == sum(done)
    assert stats(alias).timeouts == 0
