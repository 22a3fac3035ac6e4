"""Answers of a server and of a daemon, for the rules."""

from collections.abc import Mapping
from typing import Any

from pooldaemon.advice.case import Code, Database, Server
from pooldaemon.pool.config import read_pool_config
from pooldaemon.stats import BOUNDS

NO_CODE = Code()

VARIABLES = {
    "version": "11.4.2-MariaDB",
    "max_connections": 100,
    "max_user_connections": 0,
    "wait_timeout": 28800,
    "character_set_connection": "utf8mb4",
    "character_set_database": "utf8mb4",
    "skip_name_resolve": 1,
    "isolation": "READ-COMMITTED",
}
STATUS = {
    "Aborted_clients": 3,
    "Aborted_connects": 5,
    "Connection_errors_max_connections": 0,
    "Connections": 1000,
    "Max_used_connections": 60,
}


def server(
    *,
    name: str = "db1:3306",
    account: str = "shop@%",
    status: Mapping[str, int] | None = None,
    cipher: str = "TLS_AES_256_GCM_SHA384",
    code: Code = NO_CODE,
    **variables: Any,
) -> Server:
    """A sound one, but for what is given."""
    return Server(
        name, account, {**VARIABLES, **variables}, {**STATUS, **(status or {})}, cipher, code
    )


def database(
    alias: str = "default", pool: Any = None, at: Server | None = None, **settings: Any
) -> Database:
    """One of ours, with `pool` as OPTIONS["pool"]."""
    whole = {
        "ENGINE": "pooldaemon.backends.mysql",
        "HOST": "db.internal",
        "PORT": "",
        "USER": "shop",
        "PASSWORD": "",
        "NAME": alias,
        "AUTOCOMMIT": True,
        "ATOMIC_REQUESTS": False,
        "OPTIONS": {"pool": pool},
        **settings,
    }
    config = read_pool_config(alias, pool)
    return Database(alias, "mysql", whole, is_ours=True, config=config, server=at)


def times(count: int = 0, seconds: float = 0.0) -> dict[str, Any]:
    """As in a pool's statistics: so often, each so long."""
    bucket = sum(seconds > bound for bound in BOUNDS)
    counts = [0] * (len(BOUNDS) + 1)
    counts[bucket] = count
    return {"counts": counts, "total": count * seconds}


def pool(**changes: Any) -> dict[str, Any]:
    """As in a worker's report; a sound one, but for what is given."""
    return {
        "name": "mysql shop@db.internal/shop",
        "alias": "default",
        "cap": 4,
        "peak": 4,
        "paused": False,
        "timeouts": 0,
        "rejected": 0,
        "connects": 4,
        "connect_errors": 0,
        "resets": 10,
        "discards": {"expired": 30, "idle": 12},
        "wait": times(5000, 0.0001),
        "use": times(5000, 0.01),
        "connect": times(50, 0.002),
        "holders": [{"thread": "worker-1/thread-2", "seconds": 0.2, "place": "shop/a.py:3 in b"}],
        **changes,
    }


def daemon(*pools: dict[str, Any], **options: Any) -> dict[str, Any]:
    """What `status` answers; each pool is in a worker of its own."""
    known = {"threads": 8, "max_connections": None, "total_connections": None, **options}
    return {
        "name": "deliver",
        "processes": len(pools),
        "options": {
            name: {"value": value, "origin": f"--{name.replace('_', '-')}"}
            for name, value in known.items()
        },
        "workers": [{"age": 7200.0, "pools": [one]} for one in pools],
    }
