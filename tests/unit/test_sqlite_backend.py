"""pooldaemon.backends.sqlite3: set up for several threads, and pooled where it can be."""

import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import InterfaceError, OperationalError, ProgrammingError, connections, transaction

from pooldaemon import auto_close_db
from pooldaemon.connections import pool_stats
from pooldaemon.exceptions import PoolTimeout
from tests.support.poll import wait_until
from tests.unit.databases import AddDatabase
from tests.unit.fakes import Task

DEADLINE = 30.0
ENGINE = "pooldaemon.backends.sqlite3"


def fetch(alias: str, sql: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def run(alias: str, sql: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)


def test_the_database_uses_write_ahead_logging(alias: str) -> None:
    assert fetch(alias, "PRAGMA journal_mode") == "wal"


def test_a_writer_waits_half_a_minute_for_its_turn_by_default(
    add_database: AddDatabase, tmp_path: Path
) -> None:
    plain = add_database(ENGINE=ENGINE, NAME=str(tmp_path / "a"))
    patient = add_database(ENGINE=ENGINE, NAME=str(tmp_path / "b"), OPTIONS={"timeout": 5})
    assert fetch(plain, "PRAGMA busy_timeout") == 30_000
    assert fetch(patient, "PRAGMA busy_timeout") == 5_000


def test_a_transaction_takes_the_write_lock_when_it_begins(alias: str) -> None:
    run(alias, "CREATE TABLE t (n INTEGER)")
    path = connections[alias].settings_dict["NAME"]
    with transaction.atomic(using=alias):
        fetch(alias, "SELECT COUNT(*) FROM t")
        other = sqlite3.connect(path, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_the_mode_of_transactions_can_be_chosen(add_database: AddDatabase, tmp_path: Path) -> None:
    path = str(tmp_path / "deferred")
    alias = add_database(ENGINE=ENGINE, NAME=path, OPTIONS={"transaction_mode": "DEFERRED"})
    run(alias, "CREATE TABLE t (n INTEGER)")
    with transaction.atomic(using=alias):
        fetch(alias, "SELECT COUNT(*) FROM t")
        other = sqlite3.connect(path, timeout=0)
        other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_file_that_is_busy_is_opened_until_the_timeout_of_the_pool(
    add_database: AddDatabase, tmp_path: Path
) -> None:
    path = str(tmp_path / "busy")

    def add(seconds: float) -> str:
        options = {"timeout": 0, "pool": {"timeout": seconds}}
        return add_database(ENGINE=ENGINE, NAME=path, OPTIONS=options)

    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OperationalError, match="locked"):
        fetch(add(0.1), "SELECT 1")
    alias = add(DEADLINE)
    borrower = Task(auto_close_db(fetch), alias, "SELECT 1")
    wait_until(lambda: any(stats.total for stats in pool_stats()), DEADLINE, "an attempt")
    other.execute("COMMIT")
    assert borrower.result() == 1
    other.close()


def test_commands_of_the_user_run_for_each_session_after_ours(
    add_database: AddDatabase, tmp_path: Path
) -> None:
    alias = add_database(
        ENGINE=ENGINE, NAME=str(tmp_path / "a"), OPTIONS={"init_command": "PRAGMA cache_size=7;"}
    )
    assert fetch(alias, "PRAGMA cache_size") == 7
    assert fetch(alias, "PRAGMA journal_mode") == "wal"
    assert Task(auto_close_db(fetch), alias, "PRAGMA cache_size").result() == 7


@pytest.mark.parametrize("name", [":memory:", "file:unit?mode=memory&cache=shared"])
def test_a_database_in_memory_is_not_pooled(add_database: AddDatabase, name: str) -> None:
    alias = add_database(ENGINE=ENGINE, NAME=name)
    assert connections[alias].pool is None  # type: ignore[attr-defined]
    run(alias, "CREATE TABLE kept (n INTEGER)")
    with auto_close_db():
        pass
    assert fetch(alias, "SELECT COUNT(*) FROM kept") == 0, "it has lost its tables"


def test_the_pool_can_be_switched_off(add_database: AddDatabase, tmp_path: Path) -> None:
    alias = add_database(ENGINE=ENGINE, NAME=str(tmp_path / "a"), OPTIONS={"pool": False})
    assert connections[alias].pool is None  # type: ignore[attr-defined]
    assert fetch(alias, "SELECT 7") == 7


def test_threads_take_turns_on_one_connection(add_sqlite: AddDatabase) -> None:
    alias = add_sqlite(pool_size=1, timeout=60)

    @auto_close_db
    def work() -> None:
        with transaction.atomic(using=alias):
            run(alias, "UPDATE t SET n = n + 1")

    with auto_close_db():
        run(alias, "CREATE TABLE t (n INTEGER)")
        run(alias, "INSERT INTO t VALUES (0)")
    tasks = [Task(work) for _ in range(10)]
    for task in tasks:
        task.result()
    assert fetch(alias, "SELECT n FROM t") == 10
    pool = connections[alias].pool  # type: ignore[attr-defined]
    assert pool.dialect.peak_sessions == 1


def test_an_exhausted_pool_is_a_database_error_that_names_the_database(
    add_sqlite: AddDatabase,
) -> None:
    alias = add_sqlite(pool_size=1, timeout=0)
    fetch(alias, "SELECT 1")
    with pytest.raises(PoolTimeout, match=r"sqlite .*unit\.sqlite3") as caught:
        Task(fetch, alias, "SELECT 1").result()
    assert isinstance(caught.value, OperationalError)


def test_a_transaction_left_open_is_rolled_back_at_the_return(add_sqlite: AddDatabase) -> None:
    alias = add_sqlite(pool_size=1)
    run(alias, "CREATE TABLE t (n INTEGER)")
    connection = connections[alias]
    connection.set_autocommit(False)
    run(alias, "INSERT INTO t VALUES (1)")
    connection.close()
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 0
    assert connection.get_autocommit()
    run(alias, "INSERT INTO t VALUES (2)")
    assert Task(sqlite3_count, connection.settings_dict["NAME"]).result() == 1


def sqlite3_count(path: str) -> int:
    connection = sqlite3.connect(path)
    try:
        count: int = connection.execute("SELECT COUNT(*) FROM t").fetchone()[0]
    finally:
        connection.close()
    return count


def test_foreign_keys_are_enforced_as_djangos_backend_does(alias: str) -> None:
    assert fetch(alias, "PRAGMA foreign_keys") == 1
    connections[alias].close()
    assert fetch(alias, "PRAGMA foreign_keys") == 1


def test_a_handle_kept_after_the_return_is_dead(alias: str) -> None:
    fetch(alias, "SELECT 1")
    connection = connections[alias]
    handle = connection.connection
    connection.close()
    assert connection.connection is None
    with pytest.raises(connection.Database.InterfaceError):
        handle.execute("SELECT 1")


def test_close_inside_atomic_behaves_as_djangos(add_database: AddDatabase, tmp_path: Path) -> None:
    def outcome(engine: str) -> list[str]:
        alias = add_database(ENGINE=engine, NAME=str(tmp_path / engine))
        seen = []
        run(alias, "CREATE TABLE t (n INTEGER)")
        try:
            with transaction.atomic(using=alias):
                run(alias, "INSERT INTO t VALUES (1)")
                connections[alias].close()
                try:
                    run(alias, "INSERT INTO t VALUES (2)")
                except (InterfaceError, ProgrammingError):
                    seen.append("refused")
        except Exception as error:  # noqa: BLE001  # which one is the question
            seen.append(type(error).__name__)
        seen.append(str(connections[alias].connection))
        seen.append(str(fetch(alias, "SELECT COUNT(*) FROM t")))
        connections[alias].close()
        return seen

    assert outcome(ENGINE) == outcome("django.db.backends.sqlite3")


def test_a_database_that_cannot_be_opened_is_a_database_error_and_frees_its_slot(
    add_database: AddDatabase, tmp_path: Path
) -> None:
    path = tmp_path / "missing" / "a"
    options = {"pool": {"pool_size": 1, "timeout": 0}}
    alias = add_database(ENGINE=ENGINE, NAME=str(path), OPTIONS=options)
    for _ in range(3):
        with pytest.raises(OperationalError, match="unable to open database file"):
            fetch(alias, "SELECT 1")
    path.parent.mkdir()
    assert fetch(alias, "SELECT 7") == 7


def test_a_receiver_that_raises_while_a_session_is_set_up_frees_its_slot(
    add_sqlite: AddDatabase,
) -> None:
    alias = add_sqlite(pool_size=1)
    connection = connections[alias]

    def fail() -> None:
        raise RuntimeError("no")

    connection.init_connection_state = fail  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(RuntimeError):
            connection.ensure_connection()
    assert connection.connection is None
    del connection.init_connection_state  # type: ignore[method-assign]
    assert fetch(alias, "SELECT 7") == 7
    assert connection.pool.dialect.open_sessions == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("max_age", [60, None, 0.5])
def test_a_kept_connection_is_refused_with_a_pool(
    add_database: AddDatabase, tmp_path: Path, max_age: Any
) -> None:
    settings = {"ENGINE": ENGINE, "NAME": str(tmp_path / "a"), "CONN_MAX_AGE": max_age}
    with pytest.raises(ImproperlyConfigured, match=r"\['CONN_MAX_AGE'\] is .*; with a pool it"):
        fetch(add_database(**settings), "SELECT 1")
    unpooled = add_database(**settings, OPTIONS={"pool": False})
    assert fetch(unpooled, "SELECT 7") == 7


def test_wrong_pool_settings_are_reported_at_the_first_connect(add_sqlite: AddDatabase) -> None:
    alias = add_sqlite(pool_sise=3)
    with pytest.raises(ImproperlyConfigured, match="Did you mean 'pool_size'"):
        fetch(alias, "SELECT 1")


def test_many_threads_read_while_one_writes(add_sqlite: AddDatabase) -> None:
    alias = add_sqlite(timeout=60)
    run(alias, "CREATE TABLE t (n INTEGER)")

    @auto_close_db
    def read() -> int:
        count: int = fetch(alias, "SELECT COUNT(*) FROM t")
        return count

    with transaction.atomic(using=alias):
        run(alias, "INSERT INTO t VALUES (1)")
        assert [Task(read).result() for _ in range(5)] == [0] * 5
    assert Task(read).result() == 1


def test_without_the_interpreters_lock_a_pool_is_refused(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    with pytest.raises(ImproperlyConfigured, match=r"rely.*PYTHON_GIL=1"):
        connections[alias].ensure_connection()
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True)
    connections[alias].ensure_connection()
