"""A pytest plugin, in the run of a package's tests: puts them on the backend that the environment
names, and writes down how each ended."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db.utils import ConnectionHandler

from conformance.backends import ENGINES, OURS, database

outcomes: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)
    if report.when == "call" and report.passed:
        outcomes.setdefault(report.nodeid, "passed")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def pytest_sessionfinish() -> None:
    Path(os.environ["CONFORMANCE_RECORD"]).write_text(json.dumps(outcomes), encoding="utf-8")


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.failed:
        said = getattr(getattr(report.longrepr, "reprcrash", None), "message", report.longrepr)
        words = " ".join(str(said).split())
        said = words if len(words) <= 300 else f"{words[:100]} … {words[-200:]}"
        outcomes[report.nodeid] = f"failed: {said}"
    elif report.skipped:
        expected = hasattr(report, "wasxfail")
        outcomes[report.nodeid] = "failed as expected" if expected else "skipped"


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


def _configure_settings(self: ConnectionHandler, given: Any) -> Any:
    if given is None:
        _replace(settings.DATABASES)
    return _djangos(self, given)


_djangos = ConnectionHandler.configure_settings
ConnectionHandler.configure_settings = _configure_settings  # type: ignore[assignment,method-assign]
