"""The backends that are compared."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote, urlsplit

REFERENCE = "django"
OURS = {"session": {"mode": "session"}, "transaction": {"mode": "transaction"}}
BACKENDS = (REFERENCE, *OURS)


def database(alias: str) -> dict[str, Any]:
    """The entry *alias* of DATABASES, for the backend and the server of the environment."""
    backend = os.environ["CONFORMANCE_BACKEND"]
    url = urlsplit(os.environ["DATABASE_URL"])
    name = f"conformance_{backend}_{alias}"
    settings: dict[str, Any] = {
        "ENGINE": "django.db.backends.mysql",
        "NAME": name,
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": url.hostname or "",
        "PORT": str(url.port or 3306),
        "TEST": {"NAME": f"test_{name}", "CHARSET": "utf8mb4", "COLLATION": "utf8mb4_general_ci"},
    }
    if backend != REFERENCE:
        settings |= {"ENGINE": "pooldaemon.backends.mysql", "OPTIONS": {"pool": OURS[backend]}}
    return settings
