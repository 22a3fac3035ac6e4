"""Every public name. Whoever changes this list adds a line to docs/changelog.rst."""

import importlib
from dataclasses import fields
from typing import Any

import pytest

import pooldaemon
from pooldaemon import conf
from pooldaemon.management.base import BaseDaemonCommand
from pooldaemon.pool import config
from pooldaemon.stats import Histogram, Holder, PoolStats
from pooldaemon.workers.process import exit_codes
from pooldaemon.workers.worker.context import WorkContext

PUBLIC = {
    "pooldaemon": {
        *("BaseDaemonCommand", "PooledThreadPoolExecutor", "auto_close_db", "close_pool"),
        *("pool_stats", "use_database"),
    },
    "pooldaemon.exceptions": {
        *("EarlierStatementError", "ImproperlyConfigured", "PasswordProviderError"),
        *("PoolDeadlock", "PoolError", "PoolRetired", "PoolTimeout", "PoolWaitCancelled"),
        "TooManyWaiters",
    },
    "pooldaemon.signals": {
        *("daemon_ready", "daemon_reloading", "daemon_stopping"),
        *("worker_died", "worker_exiting", "worker_ready"),
    },
    "pooldaemon.connections": {"control_pools"},
    "pooldaemon.middleware": {"cancel_waits"},
    "pooldaemon.backends.base": {"PooledDatabaseMixin"},
    "pooldaemon.backends.mysql.base": {"DatabaseWrapper"},
    "pooldaemon.backends.sqlite3.base": {"DatabaseWrapper"},
    "pooldaemon.metrics.prometheus": {"register"},
    "pooldaemon.metrics.multiprocess": {"publish"},
    "pooldaemon.metrics.opentelemetry": {"instrument"},
    "pooldaemon.testing": {"DaemonProcess"},
    "pooldaemon.faults": {"fault_point"},
}
COMMAND = {
    *("processes", "threads", "max_connections", "total_connections", "databases"),
    *("idle_interval", "graceful_timeout", "setup_timeout", "boot_timeout", "exit_timeout"),
    *("heartbeat_timeout", "unit_timeout", "crash_limit", "retries"),
    *("max_units", "max_rss", "max_age", "target_path"),
    *("perform", "setup", "worker_init", "worker_exit", "worker_died"),
    *("add_arguments", "execute", "check", "handle"),
}
CONTEXT = {"attempt", "end_unit", "name", "postponed", "progress", "stopping", "wait"}
PROJECT_SETTINGS = {
    *("BOOT_TIMEOUT", "CRASH_LIMIT", "DIRECTORY", "EXIT_TIMEOUT", "GRACEFUL_TIMEOUT", "GROUP"),
    *("HEALTH_FILE", "HEARTBEAT_TIMEOUT", "IDLE_INTERVAL", "LOGFILE", "MAX_AGE"),
    *("MAX_CONNECTIONS", "MAX_POOLS", "MAX_PROCESS_CONNECTIONS", "MAX_RSS", "MAX_UNITS"),
    *("METRICS_ADDRESS", "PIDFILE", "PROCESSES", "PUBLISH_INTERVAL", "RETRIES", "SETUP_TIMEOUT"),
    *("TARGET", "THREADS", "TOTAL_CONNECTIONS", "UMASK", "UNIT_TIMEOUT", "USER"),
}
POOL_SETTINGS = {
    *("hidden_code", "leak_threshold", "max_idle", "max_overflow", "max_waiting"),
    *("min_idle", "mode", "ping_after", "pool_size", "recycle"),
    *("reset", "timeout", "use_lifo"),
}
STATUSES = {"OK": 0, "FAILED": 1, "BOOT_FAILED": 3, "KILLED": 4, "CRASH_LOOP": 5, "CRASHED": 70}


@pytest.mark.parametrize("module", PUBLIC)
def test_the_names_of_a_module(module: str) -> None:
    found = importlib.import_module(module)
    assert {name for name in PUBLIC[module] if not hasattr(found, name)} == set()


def test_the_package_offers_these_alone() -> None:
    assert set(pooldaemon.__all__) == PUBLIC["pooldaemon"]


def test_the_exceptions_are_these_alone() -> None:
    from pooldaemon import exceptions  # noqa: PLC0415

    own = {name for name, kind in vars(exceptions).items() if _is_ours(kind, exceptions)}
    assert own == PUBLIC["pooldaemon.exceptions"]


def _is_ours(kind: Any, module: Any) -> bool:
    return isinstance(kind, type) and kind.__module__ == module.__name__


def test_a_daemon_command() -> None:
    assert {name for name in vars(BaseDaemonCommand) if not name.startswith("_")} == COMMAND


def test_a_unit_of_works_context() -> None:
    public = {name for name in vars(WorkContext) if not name.startswith("_")} | {"name"}
    assert public == CONTEXT


def test_the_settings_of_a_project() -> None:
    assert conf.SETTINGS == PROJECT_SETTINGS


def test_the_settings_of_a_pool() -> None:
    assert set(config.SESSION_RULES | config.FAIR_RULES) == POOL_SETTINGS


def test_the_exit_statuses() -> None:
    assert {name: value for name, value in vars(exit_codes).items() if name.isupper()} == STATUSES


def test_what_a_pool_reports() -> None:
    names = {
        kind: [field.name for field in fields(kind)] for kind in (PoolStats, Holder, Histogram)
    }
    assert names == {
        PoolStats: [
            *("name", "poolclass", "cap", "total", "peak", "connects", "in_use", "idle"),
            *("waiting", "min_idle", "paused", "holders", "timeouts", "rejected"),
            *("connect_errors", "discards", "resets", "wait", "use", "connect", "aliases"),
        ],
        Holder: ["thread", "seconds", "place", "session"],
        Histogram: ["counts", "total"],
    }
