"""What was measured with, and on which machine."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import MySQLdb

PACKAGES = (
    "pooldaemon",
    "Django",
    "SQLAlchemy",
    "mysqlclient",
    "django-db-connection-pool",
    "gunicorn",
    "uvicorn",
    "celery",
)


def environment(server: str) -> dict[str, str]:
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "server": server,
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: _version(name) for name in PACKAGES},
        "client library": MySQLdb.get_client_info(),
        "cores": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
