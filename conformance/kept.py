"""What has run, written down, so that a run of hours can be interrupted."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import django
import MySQLdb

from conformance.backends import BACKENDS, login
from conformance.suite import SOURCES, Outcomes, SuiteError


def directory() -> Path:
    """Where the outcomes of this Python, this Django and the server of DATABASE_URL are kept.

    :raises SuiteError: the server can't be reached.
    """
    try:
        connection = MySQLdb.connect(**login())
    except MySQLdb.Error as error:
        raise SuiteError(f"the server of DATABASE_URL can't be reached: {error}") from None
    server = connection.get_server_info()
    connection.close()
    name = f"python-{platform.python_version()}-django-{django.get_version()}-{server}"
    return SOURCES / "outcomes" / name


class Kept:
    """Outcomes by backend and label, in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, backend: str, label: str) -> Outcomes | None:
        path = self._directory / backend / label
        if not path.exists():
            return None
        outcomes: Outcomes = json.loads(path.read_text(encoding="utf-8"))
        return outcomes

    def forget(self, labels: Sequence[str]) -> None:
        for backend, label in product(BACKENDS, labels):
            (self._directory / backend / label).unlink(missing_ok=True)

    def keep(self, backend: str, label: str, outcomes: Outcomes) -> None:
        path = self._directory / backend / label
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(outcomes), encoding="utf-8")
        unfinished.rename(path)
