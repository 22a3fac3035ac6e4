"""Pooled MySQL and MariaDB connections for Django, and daemons that run on them.

The public names are imported when they are first used, because Django imports this package before
its settings are complete.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pooldaemon.connections import auto_close_db, close_pool, pool_stats
    from pooldaemon.executor import PooledThreadPoolExecutor
    from pooldaemon.management.base import BaseDaemonCommand
    from pooldaemon.tenants import use_database

__version__ = "0.1.0"

__all__ = [
    "BaseDaemonCommand",
    "PooledThreadPoolExecutor",
    "auto_close_db",
    "close_pool",
    "pool_stats",
    "use_database",
]

_HOMES = {
    "BaseDaemonCommand": "pooldaemon.management.base",
    "PooledThreadPoolExecutor": "pooldaemon.executor",
    "auto_close_db": "pooldaemon.connections",
    "close_pool": "pooldaemon.connections",
    "pool_stats": "pooldaemon.connections",
    "use_database": "pooldaemon.tenants",
}


if "POOLDAEMON_HANDOVER" in os.environ:
    # Executed for a reload: from here on a failure has to be made good, in imports as well.
    import_module("pooldaemon.workers.supervisor.reexec").begin()


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
