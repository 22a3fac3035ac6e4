"""connection_created: for each wrapper that connects, as on Django's backend."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection as default
from django.db import connections, transaction
from django.db.backends.signals import connection_created

from pooldaemon import auto_close_db, close_pool
from pooldaemon.connections import on_new_session
from pooldaemon.pool.registry import registry
from tests.mysql.scratch import Scratch
from tests.mysql.use import fetch, return_connection, run, session_id, stats
from tests.support.mode import MODES
from tests.unit.databases import AddDatabase
from tests.unit.fakes import Task

Receiver = Callable[[Any], None]


@pytest.fixture(params=MODES)
def alias(request: pytest.FixtureRequest, add_pooled: AddDatabase) -> str:
    return add_pooled(pool_size=2, timeout=5, mode=request.param)


@contextmanager
def received_by(alias: str, receive: Receiver) -> Iterator[None]:
    def receiver(connection: Any, **kwargs: Any) -> None:
        if connection.alias == alias:
            receive(connection)

    connection_created.connect(receiver)
    try:
        yield
    finally:
        connection_created.disconnect(receiver)


def executing(alias: str, *statements: str) -> AbstractContextManager[None]:
    def receive(connection: Any) -> None:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    return received_by(alias, receive)


def test_it_is_sent_whenever_a_wrapper_connects(alias: str) -> None:
    seen: list[Any] = []

    def work() -> Any:
        for _ in range(3):
            with auto_close_db():
                run(alias, "SELECT 1")
                run(alias, "SELECT 1")
        return connections[alias]

    with received_by(alias, seen.append):
        first, second, third = work(), Task(work).result(), work()
    assert seen == [first] * 3 + [second] * 3 + [third] * 3
    assert first is third
    assert stats(alias).connects == 1


def test_a_receiver_finds_the_session_that_its_wrapper_goes_on_with(alias: str) -> None:
    seen: list[int] = []

    def ask(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID()")
            seen.append(cursor.fetchone()[0])

    with received_by(alias, ask):
        for _ in range(3):
            with auto_close_db():
                number = session_id(alias)
                assert number == seen[-1]
        close_pool(alias)
        with auto_close_db():
            assert session_id(alias) == seen[-1] != number
    assert len(seen) == 4


def test_a_guard_of_a_receivers_is_there_before_the_first_statement_of_each_thread(
    alias: str,
) -> None:
    def refuse_writes(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith("SELECT"):
            raise PermissionDenied
        return execute(sql, params, many, context)

    def install(connection: Any) -> None:
        if refuse_writes not in connection.execute_wrappers:
            connection.execute_wrappers.insert(0, refuse_writes)

    def write() -> None:
        for _ in range(2):
            with auto_close_db():
                assert fetch(alias, "SELECT 1") == 1
                with pytest.raises(PermissionDenied):
                    run(alias, "INSERT INTO t VALUES (1)")
                with pytest.raises(PermissionDenied), transaction.atomic(using=alias):
                    run(alias, "INSERT INTO t VALUES (1)")

    with received_by(alias, install):
        for _ in range(3):
            Task(write).result()
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 0


def test_a_session_opened_behind_a_connected_wrapper_is_set_up_by_the_receivers(
    add_pooled: AddDatabase,
) -> None:
    alias = add_pooled(mode="transaction", pool_size=2)
    with executing(alias, "SET @set_up = 1"):
        run(alias, "SELECT 1")

        def in_two() -> int:
            with transaction.atomic(using=alias):
                other = Task(fetch, alias, "SELECT CONNECTION_ID() * @set_up").result()
                assert session_id(alias) != other
                return int(fetch(alias, "SELECT @set_up"))

        assert in_two() == 1
        # The thread goes on, on either session.
        assert fetch(alias, "SELECT @set_up") == 1


SETTINGS = "SET @tenant = 'shop', time_zone = '+03:00'"


SENT = "SELECT variable_value FROM {}.session_status WHERE variable_name = 'Questions'"


def test_what_the_session_has_been_set_to_is_not_set_again(alias: str) -> None:
    mariadb = "mariadb" in fetch(alias, "SELECT VERSION()").lower()
    return_connection(alias)
    close_pool(alias)

    def count_sent() -> int:
        schema = "information_schema" if mariadb else "performance_schema"
        return int(fetch(alias, SENT.format(schema)))

    with executing(alias, "SET @x = 1;", SETTINGS, "CREATE TEMPORARY TABLE of_session (n INT)"):
        with auto_close_db():
            before = count_sent()
        for _ in range(5):
            with auto_close_db():
                assert fetch(alias, "SELECT 1") == 1
        with auto_close_db():
            assert count_sent() == before + 5 + 1
        return_connection(alias)
        assert stats(alias).resets == 0
        for _ in range(2):
            with auto_close_db():
                assert fetch(alias, "SELECT CONCAT(@tenant, @@time_zone)") == "shop+03:00"
                assert fetch(alias, "SELECT COUNT(*) FROM of_session") == 0
                run(alias, "SET @tenant = 'other', time_zone = '+01:00'")
    assert stats(alias).resets == 2
    assert stats(alias).connects == 1 + 1


def test_what_is_not_of_the_set_up_is_sent_and_all_that_follows_it(alias: str) -> None:
    numbers = iter(range(1, 4))

    def set_variables(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET @a = 0")
            cursor.execute("SET @call = %s, @a = 5", [next(numbers)])
            cursor.execute("SET @a = 0")

    with received_by(alias, set_variables):
        for number in range(1, 4):
            with auto_close_db():
                assert fetch(alias, "SELECT CONCAT(@call, ' ', @a)") == f"{number} 0"


@pytest.mark.parametrize("one_shot", ["TRANSACTION READ ONLY", "transaction read only"])
def test_what_ends_by_itself_is_set_each_time(alias: str, one_shot: str) -> None:
    run(alias, "SELECT 1")
    return_connection(alias)
    with executing(alias, f"SET {one_shot}"):
        for _ in range(3):
            with auto_close_db(), pytest.raises(Exception, match="READ ONLY"):
                run(alias, "INSERT INTO t VALUES (1)")


def test_a_session_that_is_never_reset_is_set_each_time(add_pooled: AddDatabase) -> None:
    alias = add_pooled(pool_size=1, reset="never")
    with executing(alias, "SET @a = 1"):
        for _ in range(3):
            with auto_close_db():
                assert fetch(alias, "SELECT @a") == 1
                run(alias, "SET @a = 2")


def test_a_receivers_cursor_that_outlives_it_sends_every_statement(alias: str) -> None:
    cursors: list[Any] = []

    def keep(connection: Any) -> None:
        cursors[:] = [connection.cursor()]
        cursors[0].execute("SET @a = 1")

    with received_by(alias, keep):
        run(alias, "SELECT 1")
        cursors.clear()
        return_connection(alias)
        run(alias, "SELECT 1")
        cursors[0].execute("SET @a = 2")
        cursors[0].execute("SET @a = 1")
        cursors[0].execute("SELECT @a")
        assert cursors.pop().fetchone() == (1,)


def test_a_receiver_that_raises_fails_the_connect_and_keeps_nothing(alias: str) -> None:
    allowed = False

    def check(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET @half = 1")
        if not allowed:
            raise PermissionDenied

    for is_new in (True, False):
        if not is_new:
            run(alias, "SELECT 1")
            return_connection(alias)
        with received_by(alias, check):
            for _ in range(3):  # more often than there are connections
                with pytest.raises(PermissionDenied):
                    run(alias, "SELECT 1")
                assert connections[alias].connection is None
                with pytest.raises(PermissionDenied), transaction.atomic(using=alias):
                    pytest.fail("it connected")
            assert stats(alias).in_use == 0
            allowed = True
            assert fetch(alias, "SELECT 1") == 1
            return_connection(alias)
        allowed = False
        close_pool(alias)


def test_receivers_for_another_sender_and_those_that_are_gone_are_not_called(alias: str) -> None:
    def of_another(**kwargs: Any) -> None:
        pytest.fail("it was called")

    def gone(**kwargs: Any) -> None:
        pytest.fail("it was called")

    connection_created.connect(of_another, sender=type(default))
    connection_created.connect(gone)
    del gone
    try:
        for _ in range(2):
            run(alias, "SELECT 1")
            return_connection(alias)
    finally:
        connection_created.disconnect(of_another, sender=type(default))


@pytest.mark.parametrize("mode", [*MODES, "no pool", "django"])
def test_on_new_session_reports_each_session_once(
    add_database: AddDatabase,
    add_pooled: AddDatabase,
    scratch: Scratch,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if mode == "django":
        alias = add_database(**scratch.account.settings(ENGINE="django.db.backends.mysql"))
    elif mode == "no pool":
        alias = add_database(**scratch.account.settings(OPTIONS={"pool": False}))
    else:
        alias = add_pooled(pool_size=1, mode=mode)
    sessions: list[int] = []
    monkeypatch.setattr(registry, "session_opened", registry.session_opened)
    on_new_session(lambda wrapper, raw: sessions.append(raw.thread_id()))
    try:
        seen = []
        for _ in range(3):
            with auto_close_db():
                seen.append(session_id(alias))
        assert sessions == (seen if mode in {"django", "no pool"} else seen[:1])
    finally:
        connection_created.disconnect(dispatch_uid="pooldaemon.sessions")
