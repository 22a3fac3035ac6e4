"""A pytest plugin, in the run of a package's tests: puts them on the backend that the environment
names, and writes down how each ended."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from conformance.substitution import substitute

outcomes: dict[str, str] = {}
substitute()


def pytest_configure() -> None:
    os.environ["CONFORMANCE_CHILD"] = "yes"  # of those that are started from here on


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
