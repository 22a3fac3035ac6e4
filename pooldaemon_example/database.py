"""Turns DATABASE_URL into an entry of DATABASES with one of pooldaemon's backends."""

from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

POOLED_ENGINES = {
    "django.db.backends.mysql": "pooldaemon.backends.mysql",
    "django.db.backends.sqlite3": "pooldaemon.backends.sqlite3",
}

dj_database_url.register("mariadb", "django.db.backends.mysql")


def database_from_url(url: str) -> dict[str, Any]:
    # The messages do not contain the URL, which may have a password in it.
    try:
        database: dict[str, Any] = dict(dj_database_url.parse(url))
    except ValueError as error:
        raise ImproperlyConfigured(f"DATABASE_URL: {error}") from None
    try:
        database["ENGINE"] = POOLED_ENGINES[database["ENGINE"]]
    except KeyError:
        raise ImproperlyConfigured(
            f"DATABASE_URL: {url.partition(':')[0]!r} is not supported;"
            " use mysql://user:password@host/name, mariadb://… or sqlite:///file"
        ) from None
    if database["ENGINE"].endswith("mysql"):
        # Between statements, connections are free for other threads: a delivery holds none while it
        # waits for its receiver.
        database.setdefault("OPTIONS", {})["pool"] = {"mode": "transaction"}
    if database["ENGINE"].endswith("sqlite3") and database["NAME"] != ":memory:":
        # Absolute, since a detached daemon may change its working directory.
        database["NAME"] = str(Path(database["NAME"]).absolute())
    return database
