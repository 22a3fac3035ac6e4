"""Units in every stage while the network drops all packets; a program for a namespace of its own.

Prints as JSON, for each stage, the seconds until its thread was back and the error it had.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.db import Error, connections, transaction

from pooldaemon.connections import close_pool, pool_stats

CONNECT_TIMEOUT = 2
READ_TIMEOUT = 3
DEADLINE = 60.0


def ask(alias: str, sql: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def _nothing(alias: str) -> None:
    """It opens its first connection in the black hole."""


def _lent_before(alias: str) -> None:
    ask(alias, "SELECT 1")
    connections[alias].close()


def _inside_atomic(alias: str) -> None:
    connections[alias].set_autocommit(False)
    ask(alias, "INSERT INTO t (token) VALUES (1)")


def _variable(alias: str) -> None:
    ask(alias, "SET @left = 1")


def _rows_unread(alias: str) -> None:
    cursor = connections[alias].chunked_cursor()
    cursor.execute("SELECT REPEAT('x', 1000000) FROM information_schema.COLLATIONS LIMIT 100")
    cursor.fetchone()
    connections[alias].cursor_kept = cursor  # type: ignore[attr-defined]


def ask_once(alias: str) -> None:
    ask(alias, "SELECT 1")


def _commit(alias: str) -> None:
    with transaction.atomic(using=alias):
        ask(alias, "INSERT INTO t (token) VALUES (1)")


def _return_connection(alias: str) -> None:
    connections[alias].close()


Step = Callable[[str], None]

# What has been done when the packets stop, what is done then, and the pool's options.
STAGES: dict[str, tuple[Step, Step, dict[str, Any]]] = {
    "connect": (_nothing, ask_once, {}),
    "ping": (_lent_before, ask_once, {"ping_after": 0}),
    "unit": (_lent_before, ask_once, {}),
    "unit without read_timeout": (_lent_before, ask_once, {}),
    "transaction": (_inside_atomic, ask_once, {}),
    "transaction without read_timeout": (_inside_atomic, ask_once, {}),
    "return a variable": (_variable, _return_connection, {}),
    "return a transaction": (_inside_atomic, _return_connection, {}),
    "return unread rows": (_rows_unread, _return_connection, {}),
    "close": (_lent_before, close_pool, {}),
}


def drop_all_packets(server: str, device: str) -> None:
    """To a machine that is not there: no error comes back, as from a firewall that drops."""
    change = ["ip", "neigh", "replace", server, "lladdr", "02:00:00:00:00:fe"]
    subprocess.run([*change, "dev", device, "nud", "permanent"], check=True)


def heal(server: str, device: str) -> None:
    subprocess.run(["ip", "neigh", "del", server, "dev", device], check=True)


def configure(database: dict[str, Any]) -> None:
    databases: dict[str, Any] = {"default": {}}
    for mode in ("session", "transaction"):
        for stage, (_, step, pool) in STAGES.items():
            options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT}
            if step is ask_once and not stage.endswith("without read_timeout"):
                options["read_timeout"] = READ_TIMEOUT
            # With the same settings they would have one pool.
            own = {"pool_size": 1, "timeout": 30 + len(databases), "mode": mode, **pool}
            databases[f"{mode} {stage}"] = database | {"OPTIONS": options | {"pool": own}}
    settings.configure(DATABASES=databases, INSTALLED_APPS=[])
    django.setup()


def main(database: dict[str, Any], device: str) -> dict[str, Any]:
    configure(database)
    aliases = [alias for alias in settings.DATABASES if alias != "default"]
    barrier = threading.Barrier(len(aliases) + 1)
    silent = threading.Event()
    results: dict[str, Any] = {}

    def run(alias: str) -> None:
        before, step, _ = STAGES[alias.partition(" ")[2]]
        before(alias)
        barrier.wait(DEADLINE)
        silent.wait(DEADLINE)
        started, error = time.monotonic(), None
        try:
            step(alias)
        except Error as failure:
            error = failure.args[0]
        results[alias] = {"seconds": round(time.monotonic() - started, 2), "error": error}
        connections[alias].close()

    threads = [threading.Thread(target=run, args=[alias], daemon=True) for alias in aliases]
    for thread in threads:
        thread.start()
    barrier.wait(DEADLINE)
    drop_all_packets(database["HOST"], device)
    silent.set()
    deadline = time.monotonic() + DEADLINE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    hang = [alias for alias in aliases if alias not in results]
    heal(database["HOST"], device)
    answers = {alias: ask(alias, "SELECT 7")[0][0] for alias in aliases if alias not in hang}
    return {
        "results": results,
        "hang": hang,
        "answers": answers,
        "most": max(pool.peak for pool in pool_stats()),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]), sys.argv[2])))
