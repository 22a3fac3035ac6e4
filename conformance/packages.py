"""Other packages' tests: fetched with the package, run in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import django

from conformance.suite import ROOT, SOURCES, NoTestsError, Outcomes, SuiteError, fetch, recorded

LIST = Path(__file__).with_name("packages.toml")
TIMEOUT = 1200.0
"""Seconds for one package on one backend. The longest takes some minutes on an idle machine."""
PYTEST = ("pytest>=8.2", "pytest-django>=4.11")


@dataclass(frozen=True)
class Package:
    """
    :ivar tests: what pytest is given to run all.
    :ivar settings: the tests' own; without, they configure them.
    :ivar requires: what the tests need beside the package.
    :ivar options: of pytest.
    """

    name: str
    tests: tuple[str, ...]
    settings: str = ""
    requires: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        return SOURCES / "packages" / self.name

    @property
    def python(self) -> Path:
        return SOURCES / "environments" / f"{self.name}-django-{django.get_version()}/bin/python"

    def prepare(self) -> None:
        """
        :raises NoTestsError: its source distribution brings none.
        :raises SuiteError: it can't be had.
        """
        if not self.source.is_dir():
            fetch(self.name, self.name, self.source)
        needed = list(self.tests)
        if self.settings:
            needed.append(self.settings.replace(".", "/") + ".py")
        if missing := [path for path in needed if not (self.source / path).exists()]:
            raise NoTestsError(
                f"{self.name}: its source distribution has no {missing[0]}. To run its tests "
                f"anyhow, put a checkout of its repository in place of {self.source}"
            )
        environment = self.python.parents[1]
        if not (environment / "ready").exists():
            self._install(environment)
            (environment / "ready").touch()

    def _install(self, environment: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        pip = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += [f"Django=={django.get_version()}", *PYTEST, *self.requires]
        pip += [str(self.source), "--editable", f"{ROOT}[mysql]"]
        if subprocess.run(pip, check=False).returncode:
            raise SuiteError(f"{self.name}: pip could not install it for its tests")

    def run(self, backend: str, tests: Sequence[str]) -> Outcomes:
        """
        :param tests: node ids of pytest; none: all.
        """
        plugin = ["-p", "conformance.plugin"]
        plugin += [f"--ds={self.settings}"] if self.settings else ["-p", "no:django"]
        paths = [self.source, self.source / "src", ROOT, ROOT / "conformance/children"]
        return recorded(
            f"{self.name} on {backend}",
            [
                *(str(self.python), "-m", "pytest", "-c", os.devnull),
                *("-o", "django_find_project=false", f"--rootdir={self.source}"),
                *(*plugin, *self.options, *(tests or self.tests)),
            ],
            self.source,
            {
                "PYTHONPATH": os.pathsep.join(map(str, paths)),
                "CONFORMANCE_BACKEND": backend,
                "CONFORMANCE_GIS": "",
            },
            TIMEOUT,
        )


def _read(entry: dict[str, Any]) -> Package:
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    return Package(**(entry | lists))


class Packages:
    """Those of packages.toml. Their tests' ids are those of pytest behind the package's name."""

    def __init__(self) -> None:
        entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["package"]
        self._packages = {one["name"]: _read(one) for one in entries}

    def names(self) -> list[str]:
        return list(self._packages)

    def run(self, backend: str, labels: Sequence[str]) -> Outcomes:
        """
        :raises SuiteError: a package can't be run.
        """
        outcomes: Outcomes = {}
        for name, some in groupby(sorted(labels), lambda label: label.partition(".")[0]):
            if (package := self._packages.get(name)) is None:
                raise SuiteError(
                    f"{name!r} is not in {LIST.name}; it has {', '.join(self.names())}"
                )
            package.prepare()
            tests = [label.partition(".")[2] for label in some if "." in label]
            ends = package.run(backend, tests)
            if broken := [
                test for test, end in ends.items() if "::" not in test and end != "skipped"
            ]:
                raise SuiteError(f"{name}: {broken[0]} {ends[broken[0]]}")
            outcomes |= {f"{name}.{test}": end for test, end in ends.items()}
        return outcomes
