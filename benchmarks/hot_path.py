"""A fixed script of the paths that every unit of work takes, for a tool that counts instructions.

    benchmarks/hot_path.py LAYOUT CYCLES CYCLES

There is no server and no other thread, so two runs differ by next to nothing. Each case runs in a
forked process of its own, once with each number of cycles. The difference is what the cycles cost,
without start-up and warm-up. What the pool does once a second is not among it. Prints, as a line of
JSON for each process, its number, case and cycles.

LAYOUT, a small number, moves what is in memory. The interpreter finds attributes in a cache by the
addresses of their names. Two that collide cost 2 % of a borrow, and any change of the source may
move them.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

WARM_UP = 100
"""Cycles after which the interpreter has specialized its bytecode, and all caches are filled."""

Cycle = Callable[[], object]


def borrow() -> Cycle:
    """The pool alone, with a driver that does nothing."""
    from pooldaemon.pool.config import read_pool_config
    from pooldaemon.pool.drivers.base import DriverDialect
    from pooldaemon.pool.queue.lease import Lease, return_connection
    from pooldaemon.pool.registry import ManagedPool

    class Connection:
        broken = False

    class Handle(Lease):
        __slots__ = ()
        _error_class = RuntimeError

    class Dialect(DriverDialect):
        lease_class = Handle

        def reset(self, connection: Any) -> bool:
            return False

    config = read_pool_config("default", {})
    assert config is not None
    pool = ManagedPool("pool", config, Dialect(Connection))

    def cycle() -> None:
        return_connection(pool.borrow())

    return cycle


def connect() -> Cycle:
    """Django's wrapper connects and closes, without a statement."""
    connection = _database("session")

    def cycle() -> None:
        connection.ensure_connection()
        connection.close()

    return cycle


def session() -> Cycle:
    """A unit of work of one statement, in session mode."""
    return _unit(_database("session"))


def transaction() -> Cycle:
    """The same in transaction mode."""
    return _unit(_database("transaction"))


def statement() -> Cycle:
    """One more statement of a unit in transaction mode: between two of them the connection is
    parked."""
    connection = _database("transaction")

    def cycle() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()

    return cycle


CASES: dict[str, Callable[[], Cycle]] = {
    case.__name__: case for case in (borrow, connect, session, transaction, statement)
}


def _unit(connection: Any) -> Cycle:
    def cycle() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
        connection.close()

    return cycle


def _database(mode: str) -> Any:
    """The wrapper of a database whose pool is in *mode*, with an open session."""
    from django.db import connections

    from pooldaemon.pool.watchdog import watchdog

    connections.settings["default"]["OPTIONS"] = {
        # The schema is not read: there is none. Statements are judged as with one that was.
        "pool": {"mode": mode, "hidden_code": "harmless"}
    }
    connection = connections["default"]
    connection.ensure_connection()
    connection.close()
    watchdog.stop_if_unused()
    return connection


def _configure() -> None:
    from benchmarks import memory_driver

    memory_driver.install()

    import django
    from django.conf import settings

    settings.configure(
        USE_TZ=True,
        LOGGING_CONFIG=None,
        DATABASES={"default": {"ENGINE": "pooldaemon.backends.mysql", "NAME": "shop"}},
    )
    django.setup()

    from django.db import connections

    # What it needs is imported here, and not in each process.
    assert connections["default"].pool is not None

    from pooldaemon.pool.drivers.mysql import client_library

    # The client library knows nothing of these connections.
    client_library.init_commands = lambda connection: []


def run(case: str, cycles: int) -> int:
    """Run *case* in a forked process; returns its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        if status:
            raise SystemExit(f"{case}: status {status}")
        return pid
    try:
        cycle = CASES[case]()
        # Each reading of the clock is a microsecond later. By the real one, what the pool does once
        # a second would be done more often on a slow machine.
        time.monotonic = count(time.monotonic(), 1e-6).__next__
        for _ in range(WARM_UP):
            cycle()
        # What start-up has left is not looked through again; what a cycle leaves is.
        gc.collect()
        gc.freeze()
        for _ in range(cycles):
            cycle()
    except BaseException:  # noqa: BLE001 - it is printed, and the status tells the parent
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def main(layout: int, *numbers: int) -> None:
    names_before_ours = ["x" * (8 + number % 32) for number in range(101 * layout)]
    _configure()
    for case in CASES:
        for cycles in numbers:
            print(json.dumps([run(case, cycles), case, cycles]), flush=True)
    del names_before_ours


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    main(*map(int, sys.argv[1:]))
