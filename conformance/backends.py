"""The backends that are compared."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote, urlsplit

REFERENCE = "django"
OURS = {"session": {"mode": "session"}, "transaction": {"mode": "transaction"}}
BACKENDS = (REFERENCE, *OURS)
ENGINES = {False: "django.db.backends.mysql", True: "pooldaemon.backends.mysql"}
GIS_ENGINES = {False: "django.contrib.gis.db.backends.mysql", True: "conformance.gis"}


def database(alias: str) -> dict[str, Any]:
    """The entry *alias* of DATABASES, for the backend and the server of the environment."""
    backend = os.environ["CONFORMANCE_BACKEND"]
    engines = GIS_ENGINES if os.environ["CONFORMANCE_GIS"] else ENGINES
    name = f"test_conformance_{backend}_{alias}"
    return {
        **{key.upper(): value for key, value in login().items()},
        "ENGINE": engines[backend in OURS],
        # It is there: some of GeoDjango's tests ask the server while they are imported.
        "NAME": urlsplit(os.environ["DATABASE_URL"]).path.lstrip("/"),
        "TEST": {"NAME": name, "CHARSET": "utf8mb4", "COLLATION": "utf8mb4_general_ci"},
        "OPTIONS": {"pool": OURS[backend]} if backend in OURS else {},
    }


def login() -> dict[str, Any]:
    """The account and the server of DATABASE_URL, as the driver takes them."""
    url = urlsplit(os.environ["DATABASE_URL"])
    return {
        "user": unquote(url.username or ""),
        "password": unquote(url.password or ""),
        "host": url.hostname or "",
        "port": url.port or 3306,
    }
