"""Puts a project's databases on the backend that the environment names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from django.conf import settings
from django.db.utils import ConnectionHandler

from conformance.backends import ENGINES, OURS, database


def substitute(*, in_child: bool = False) -> None:
    """From now on: it happens when Django looks at the settings' databases.

    :param in_child: in a process that a test has started, which works on the test's databases.
    """
    djangos = ConnectionHandler.configure_settings

    def configure_settings(self: ConnectionHandler, given: Any) -> Any:
        if given is None:
            _replace(settings.DATABASES)
            for entry in settings.DATABASES.values() if in_child else ():
                entry["NAME"] = entry.get("TEST", {}).get("NAME") or entry["NAME"]
        return djangos(self, given)

    ConnectionHandler.configure_settings = configure_settings  # type: ignore[assignment,method-assign]


def _replace(databases: Mapping[str, dict[str, Any]]) -> None:
    """Put those on MySQL on the backend; if there are none, those on SQLite."""
    vendors = {alias: _vendor(entry) for alias, entry in databases.items()}
    replaced = "mysql" if "mysql" in vendors.values() else "sqlite"
    for alias, entry in databases.items():
        if vendors[alias] == replaced:
            entry.update(_on_backend(alias, entry, keeps=replaced == "mysql"))


def _vendor(entry: Mapping[str, Any]) -> str:
    engine = entry.get("ENGINE", "django.db.backends.dummy")
    vendor: str = import_module(f"{engine}.base").DatabaseWrapper.vendor
    return vendor


def _on_backend(alias: str, entry: Mapping[str, Any], *, keeps: bool) -> dict[str, Any]:
    """
    :param keeps: what else the entry says is meant for MySQL.
    """
    ours = database(alias)
    if keeps:
        if entry["ENGINE"] != ENGINES[False]:
            os.environ["CONFORMANCE_ENGINE"] = entry["ENGINE"]
            pooled = os.environ["CONFORMANCE_BACKEND"] in OURS
            ours["ENGINE"] = "conformance.composed" if pooled else entry["ENGINE"]
        for name in ("OPTIONS", "TEST"):
            ours[name] = {**entry.get(name, {}), **ours[name]}
    return ours
