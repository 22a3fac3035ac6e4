"""pooldaemon.backends.mysql: drop-in, one question per cycle, and pools found by parameters."""

import threading
import time
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections, connections, transaction
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.db.backends.mysql import base
from django.db.transaction import TransactionManagementError
from pytest_django import Settings

from pooldaemon import auto_close_db, close_pool
from pooldaemon.pool.drivers.mysql.sql.side_effects import RECHECK, Answer, heard
from pooldaemon.pool.drivers.mysql.sql.suspects import Suspects
from tests.mysql.scratch import Scratch
from tests.mysql.use import fetch, return_connection, run, session_id, stats
from tests.support.mode import MODES, session_mode_only
from tests.support.poll import wait_until
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE, Task

STATUS = "SELECT variable_value + 0 FROM {0}.session_status WHERE variable_name = %s"


@pytest.fixture
def status(scratch: Scratch) -> str:
    """Asks a session for one of its counters; a clean statement."""
    version = scratch.admin.query("SELECT VERSION() AS v")[0]["v"]
    mariadb = "mariadb" in version.lower()
    return STATUS.format("information_schema" if mariadb else "performance_schema")


def test_one_engine_line_is_all_it_takes(add_database: AddDatabase, scratch: Scratch) -> None:
    alias = add_database(**scratch.account.settings())
    assert fetch(alias, "SELECT 7") == 7
    assert stats(alias).poolclass == "FairQueuePool"
    assert stats(alias).cap == 10


def test_a_cycle_is_one_question_and_no_connect(alias: str, status: str) -> None:
    with auto_close_db():
        first = session_id(alias)
    with auto_close_db():
        before = fetch(alias, status, ["Questions"])
    for _ in range(20):
        with auto_close_db():
            fetch(alias, "SELECT 1")
    with auto_close_db():
        assert fetch(alias, status, ["Questions"]) == before + 20 + 1
    assert session_id(alias) == first
    assert (stats(alias).connects, stats(alias).resets) == (1, 0)


def test_a_cycle_sends_nothing_beside_its_statement(alias: str, status: str) -> None:
    def received() -> int:
        number: int = fetch(alias, status, ["Bytes_received"])
        return number

    with auto_close_db():
        start = received()
        for _ in range(20):
            fetch(alias, "SELECT 1")
        in_one_borrow = received() - start
    with auto_close_db():
        start = received()
    for _ in range(20):
        with auto_close_db():
            fetch(alias, "SELECT 1")
    with auto_close_db():
        # Pings are no questions; they show here.
        assert received() - start == in_one_borrow


def test_a_cycle_of_a_transaction_costs_what_django_asks_and_no_more(
    alias: str, status: str
) -> None:
    with auto_close_db():
        before = fetch(alias, status, ["Questions"])
    for _ in range(10):
        with auto_close_db(), transaction.atomic(using=alias):
            run(alias, "INSERT INTO t VALUES (1)")
    with auto_close_db():
        # autocommit off, INSERT, COMMIT, autocommit on
        assert fetch(alias, status, ["Questions"]) == before + 10 * 4 + 1


@session_mode_only
def test_server_data_is_asked_once_per_pool(
    add_pooled: AddDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    alias = add_pooled(pool_size=5)
    asked: list[int] = []

    @auto_close_db
    def ask() -> Any:
        connection: Any = connections[alias]
        with connection.execute_wrapper(spy):
            return connection.mysql_server_data[
                "version"
            ], connection.features.minimum_database_version

    def spy(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        if "VERSION()" in sql:
            asked.append(1)
        return execute(sql, params, many, context)

    versions = {Task(ask).result() for _ in range(4)}
    assert len(versions) == 1
    assert len(asked) == 1
    close_pool(alias)  # what comes after may be another server
    Task(ask).result()
    assert len(asked) == 2


def test_who_waits_for_a_connection_to_ask_keeps_nobody_from_asking(
    add_pooled: AddDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On Python 3.11 functools.cached_property has one lock for all threads.
    alias = add_pooled(pool_size=1, timeout=5)
    set_up = base.DatabaseWrapper.init_connection_state

    @auto_close_db
    def ask() -> Any:
        return connections[alias].mysql_server_data["version"]  # type: ignore[attr-defined]

    def set_up_slowly(connection: Any) -> None:
        second.append(Task(ask))
        wait_until(lambda: stats(alias).waiting, DEADLINE, "nobody waits")
        set_up(connection)  # it asks too

    second: list[Task] = []
    monkeypatch.setattr(base.DatabaseWrapper, "init_connection_state", set_up_slowly)
    assert Task(ask).result() == second.pop().result()


@pytest.mark.parametrize("mode", MODES)
def test_a_transaction_that_the_end_of_a_request_cuts_off_is_not_gone_unseen(
    add_pooled: AddDatabase, mode: str
) -> None:
    alias = add_pooled(pool_size=1, timeout=5, mode=mode)

    def transfer() -> None:
        with transaction.atomic(using=alias):
            run(alias, "INSERT INTO t VALUES (1)")
            close_old_connections()
            assert stats(alias).in_use == 0
            run(alias, "INSERT INTO t VALUES (2)")

    with pytest.raises(TransactionManagementError):
        transfer()
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 0


@pytest.mark.parametrize("mode", MODES)
def test_behind_an_atomic_that_nobody_ends_the_next_units_of_the_thread_fail(
    add_pooled: AddDatabase, mode: str
) -> None:
    alias = add_pooled(pool_size=1, timeout=5, mode=mode)

    def insert() -> None:
        with transaction.atomic(using=alias):
            run(alias, "INSERT INTO t VALUES (1)")

    def units() -> None:
        left_open = transaction.atomic(using=alias)
        left_open.__enter__()
        insert()
        for _ in range(2):
            close_old_connections()
            with pytest.raises(TransactionManagementError):
                insert()
        left_open.__exit__(None, None, None)
        insert()
        close_old_connections()

    Task(units).result()
    assert stats(alias).in_use == 0
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_unit_that_leaves_its_atomic_open_is_rolled_back_and_logged(
    add_pooled: AddDatabase, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    alias = add_pooled(pool_size=1, timeout=5, mode=mode)

    def insert() -> None:
        with auto_close_db():
            run(alias, "INSERT INTO t VALUES (1)")

    def units() -> None:
        left_open = transaction.atomic(using=alias)
        with auto_close_db():
            left_open.__enter__()
            run(alias, "INSERT INTO t VALUES (1)")
        assert stats(alias).in_use == 0
        with pytest.raises(TransactionManagementError):
            insert()
        left_open.__exit__(None, None, None)
        insert()

    Task(units).result()
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 1
    assert caplog.messages == [
        f"A unit of work has left an atomic() of the database {alias!r} open; it is rolled back."
    ]


def test_inside_atomic_the_end_of_a_unit_of_work_gives_nothing_back(alias: str) -> None:
    with transaction.atomic(using=alias):
        run(alias, "INSERT INTO t VALUES (1)")
        with auto_close_db():
            run(alias, "INSERT INTO t VALUES (2)")
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 2


def test_a_guard_in_the_place_of_djangos_ensure_connection_is_asked_by_every_cursor(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest-django puts one there, for tests that are not to use the database.
    def refuse(connection: Any) -> None:
        raise LookupError

    fetch(alias, "SELECT 1")
    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", refuse)
    with pytest.raises(LookupError):
        fetch(alias, "SELECT 1")


def test_the_cap_holds_as_the_server_sees_it(add_pooled: AddDatabase, scratch: Scratch) -> None:
    alias = add_pooled(pool_size=4, max_overflow=1, timeout=60)
    stop = threading.Event()

    def work() -> int:
        done = 0
        while not stop.is_set():
            with auto_close_db():
                run(alias, "SELECT SLEEP(0.002)")
            done += 1
        return done

    tasks = [Task(work) for _ in range(30)]
    most = 0
    for _ in range(100):
        most = max(most, len(scratch.sessions()))
    stop.set()
    done = [task.result() for task in tasks]
    assert 4 <= most <= 5
    assert min(done) > 0, "a thread got nothing"
    assert stats(alias).peak <= 5


def test_two_aliases_of_equal_parameters_share_one_pool_and_its_cap(
    add_pooled: AddDatabase, scratch: Scratch
) -> None:
    one, two = add_pooled(pool_size=1), add_pooled(pool_size=1)
    with auto_close_db():
        first = session_id(one)
    with auto_close_db():
        assert session_id(two) == first
    assert len(scratch.sessions()) == 1


@pytest.mark.parametrize(
    "change",
    [{"charset": "latin1"}, {"isolation_level": "serializable"}, {"init_command": "SET @a = 1"}],
    ids=str,
)
def test_different_parameters_have_different_pools(
    add_pooled: AddDatabase, change: dict[str, Any]
) -> None:
    one, two = add_pooled(pool_size=1), add_pooled(change, pool_size=1)
    assert connections[one].pool is not connections[two].pool  # type: ignore[attr-defined]
    with auto_close_db():
        first = session_id(one)
    with auto_close_db():
        assert session_id(two) != first


def test_one_alias_with_different_settings_in_two_threads_has_two_pools(
    add_pooled: AddDatabase, scratch: Scratch
) -> None:
    alias = add_pooled(pool_size=1, timeout=1)

    def elsewhere() -> tuple[str, int]:
        connection = connections[alias]
        connection.settings_dict = {**connection.settings_dict, "NAME": "information_schema"}
        with auto_close_db():
            return fetch(alias, "SELECT DATABASE()"), session_id(alias)

    with auto_close_db():
        here = session_id(alias)
    database, there = Task(elsewhere).result()
    assert (database, there != here) == ("information_schema", True)
    with auto_close_db():
        assert fetch(alias, "SELECT DATABASE()") == scratch.account.name


def test_connections_without_a_database_are_not_pooled(alias: str, scratch: Scratch) -> None:
    with connections[alias]._nodb_cursor() as cursor:
        cursor.execute("SELECT DATABASE()")
        assert cursor.fetchone() == (None,)
        assert cursor.db.alias == NO_DB_ALIAS
        assert cursor.db.pool is None
    wait_until(lambda: scratch.sessions() == [], DEADLINE, "the session was kept")


def test_false_switches_the_pool_off(add_database: AddDatabase, scratch: Scratch) -> None:
    alias = add_database(**scratch.account.settings(OPTIONS={"pool": False}))
    fetch(alias, "SELECT 1")
    return_connection(alias)
    wait_until(lambda: scratch.sessions() == [], DEADLINE, "the session was kept")


@pytest.mark.parametrize("max_age", [60, None])
def test_a_kept_connection_is_refused(
    add_database: AddDatabase, scratch: Scratch, max_age: Any
) -> None:
    alias = add_database(**scratch.account.settings(CONN_MAX_AGE=max_age))
    with pytest.raises(ImproperlyConfigured, match=r"'CONN_MAX_AGE'\] is .*it must be 0"):
        fetch(alias, "SELECT 1")


def test_historic_settings_still_work(
    add_database: AddDatabase, scratch: Scratch, settings: Settings
) -> None:
    settings.MYSQLPOOL_BACKEND = "QueuePool"
    settings.MYSQLPOOL_ARGUMENTS = {"pool_size": 1, "max_overflow": 0, "timeout": 0}
    alias = add_database(**scratch.account.settings())
    with auto_close_db():
        first = session_id(alias)
    with auto_close_db():
        assert session_id(alias) == first
    assert stats(alias).poolclass == "QueuePool"


@pytest.mark.parametrize(
    "poolclass", ["QueuePool", "NullPool", "SingletonThreadPool", "AssertionPool"]
)
def test_every_class_of_pool_serves_and_cleans(
    add_pooled: AddDatabase, scratch: Scratch, poolclass: str
) -> None:
    alias = add_pooled(poolclass=poolclass)
    for number in range(3):
        with auto_close_db():
            assert fetch(alias, "SELECT @left") is None
            run(alias, "SET @left = %s", [number])
    close_pool(alias)
    wait_until(lambda: scratch.sessions() == [], DEADLINE, "a session stayed open")


def test_a_pool_and_its_name_show_no_password(alias: str, scratch: Scratch) -> None:
    fetch(alias, "SELECT 1")
    pool = connections[alias].pool  # type: ignore[attr-defined]
    assert scratch.account.password not in f"{pool!r} {pool.name} {pool.stats()!r}"
    assert f"{scratch.account.user}@{scratch.account.host}:{scratch.account.port}" in pool.name


@pytest.mark.parametrize(("age", "believed"), [(RECHECK - 10, True), (RECHECK + 1, False)])
def test_what_another_process_was_answered_about_hidden_code_is_believed_for_a_minute(
    add_pooled: AddDatabase, monkeypatch: pytest.MonkeyPatch, age: float, believed: bool
) -> None:
    alias = add_pooled()
    dialect = connections[alias].pool.dialect  # type: ignore[attr-defined]
    wrong = Answer(Suspects(names=frozenset({("", "t")})), asked=time.monotonic() - age)
    monkeypatch.setitem(heard, dialect.account, wrong)
    with auto_close_db():
        fetch(alias, "SELECT COUNT(*) FROM t")
    assert (dialect.side_effects.answer == wrong) is believed
    assert stats(alias).resets == believed
