"""--max-connections holds as the server counts, whatever the pool's settings say."""

from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.conftest import StartDaemon
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import Database, MySQLDatabase, SQLiteDatabase
from tests.support.poll import wait_until

UNITS_WATCHED, LOOKS = 300, 50


def most_sessions(daemon: Daemon, database: MySQLDatabase) -> int:
    """The most sessions seen in many looks, while the daemon does some hundred units."""
    seen: list[int] = []

    def watched() -> bool:
        seen.append(len(database.sessions()))
        return len(seen) >= LOOKS and len(daemon.journal.events("used")) >= UNITS_WATCHED

    wait_until(watched, TIMEOUT, f"{UNITS_WATCHED} units")
    return max(seen)


@pytest.mark.mysql
@pytest.mark.parametrize(
    "pool",
    [
        {"pool_size": 50},
        {"pool_size": 1, "max_overflow": 49},
        {"poolclass": "QueuePool", "pool_size": 50, "max_overflow": 10},
        {"poolclass": "NullPool"},
        {"poolclass": "SingletonThreadPool", "pool_size": 50},
    ],
    ids=lambda pool: "-".join(str(value) for value in pool.values()),
)
def test_sixteen_threads_share_two_sessions_whatever_the_pool(
    start_daemon: StartDaemon, mysql: MySQLDatabase, pool: dict[str, Any]
) -> None:
    mysql.settings["OPTIONS"]["pool"] = pool
    options = ("--threads", "16", "--max-connections", "2")
    daemon = start_daemon(mysql, "use_connection", *options)
    assert most_sessions(daemon, mysql) == 2
    daemon.stop()
    assert ", 0 failed, peak of 2 connections" in daemon.out


@pytest.mark.mysql
@pytest.mark.parametrize("limit", [2, {"default": 2, "*": 9}], ids=["all", "this-one"])
def test_the_limit_holds_in_each_of_several_workers(
    start_daemon: StartDaemon, mysql: MySQLDatabase, limit: int | dict[str, int]
) -> None:
    mysql.settings["OPTIONS"]["pool"] = {"pool_size": 50}
    options = ("--processes", "2", "--threads", "8")
    daemon = start_daemon(mysql, "use_connection", *options, POOLDAEMON={"MAX_CONNECTIONS": limit})
    daemon.wait_for_threads("used", 16)
    assert most_sessions(daemon, mysql) <= 4
    daemon.stop()
    assert daemon.out.count(", 0 failed, peak of 2 connections") == 2


@pytest.mark.mysql
def test_without_a_limit_the_settings_of_the_pool_hold(
    start_daemon: StartDaemon, mysql: MySQLDatabase
) -> None:
    mysql.settings["OPTIONS"]["pool"] = {"pool_size": 3}
    daemon = start_daemon(mysql, "use_connection", "--threads", "16")
    assert most_sessions(daemon, mysql) == 3
    daemon.stop()


def test_threads_that_wait_for_a_connection_all_get_their_turn(
    start_daemon: StartDaemon, database: Database
) -> None:
    options = ("--threads", "16", "--max-connections", "1")
    daemon = start_daemon(database, "use_connection", *options)
    daemon.wait_for_threads("used", 16)
    daemon.stop()
    assert "0 failed, peak of 1 connection" in daemon.out


@pytest.mark.parametrize(
    "unpooled",
    [
        {"ENGINE": "django.db.backends.sqlite3", "NAME": "other.sqlite3"},
        {"ENGINE": "pooldaemon.backends.sqlite3", "NAME": ":memory:"},
        {
            "ENGINE": "pooldaemon.backends.sqlite3",
            "NAME": "other.sqlite3",
            "OPTIONS": {"pool": False},
        },
    ],
    ids=["another-backend", "in-memory", "switched-off"],
)
def test_a_limit_warns_of_databases_that_are_not_pooled(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, unpooled: dict[str, Any]
) -> None:
    databases = {"default": sqlite.settings, "reports": unpooled}
    daemon = start_daemon(sqlite, "idle", "--max-connections", "2", DATABASES=databases)
    daemon.wait_for("unit")
    daemon.stop()
    (warning,) = [line for line in daemon.err.splitlines() if "not pooled" in line]
    assert "max_connections=2" in warning
    assert "reports" in warning
    assert "default" not in warning


def test_a_limit_of_one_database_does_not_warn_of_another(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase
) -> None:
    unpooled = {"ENGINE": "django.db.backends.sqlite3", "NAME": "other.sqlite3"}
    databases = {"default": sqlite.settings, "reports": unpooled}
    daemon = start_daemon(sqlite, "idle", "--max-connections", "default=2", DATABASES=databases)
    daemon.wait_for("unit")
    daemon.stop()
    assert "not pooled" not in daemon.err


def test_a_limit_does_not_warn_when_every_database_is_pooled(
    start_daemon: StartDaemon, sqlite: SQLiteDatabase, tmp_path: Path
) -> None:
    other = SQLiteDatabase(tmp_path / "other.sqlite3").settings
    databases = {"default": sqlite.settings, "reports": other}
    daemon = start_daemon(sqlite, "idle", "--max-connections", "2", DATABASES=databases)
    daemon.wait_for("unit")
    daemon.stop()
    assert "not pooled" not in daemon.err


def test_no_limit_no_warning(start_daemon: StartDaemon, sqlite: SQLiteDatabase) -> None:
    unpooled = {"ENGINE": "django.db.backends.sqlite3", "NAME": "other.sqlite3"}
    databases = {"default": sqlite.settings, "reports": unpooled}
    daemon = start_daemon(sqlite, "idle", DATABASES=databases)
    daemon.wait_for("unit")
    daemon.stop()
    assert "not pooled" not in daemon.err
