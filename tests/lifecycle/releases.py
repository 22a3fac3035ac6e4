"""Deployments: releases in directories of their own, and `current`, a link to one of them."""

import os
import shutil
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lifecycle.daemon import ROOT, Daemon
from tests.lifecycle.databases import Database

MANAGE = """\
import sys

from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""

RELEASE = """\
from tests.lifecycle.project.journal import journal


def unit(ctx):
    journal().note("unit", release={number})
"""


class Site:
    """Where releases are deployed. The deployed one has `manage.py`, the module `release` with a
    unit of work that notes its number, and `venv`, if it is asked for.
    """

    def __init__(
        self, directory: Path, *, with_interpreter: bool = False, module: str = RELEASE
    ) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.current = directory / "current"
        self._with_interpreter = with_interpreter
        self._module = module

    def release(self, number: int) -> Path:
        return self.directory / f"release-{number}"

    def deploy(self, number: int, *, manage: str = MANAGE) -> None:
        """Make a release, and let `current` point at it, in one step as deployments do."""
        path = self.release(number)
        path.mkdir()
        (path / "manage.py").write_text(manage)
        (path / "release.py").write_text(self._module.format(number=number))
        if self._with_interpreter:
            make_interpreter(path / "venv")
        self.switch(number)

    def switch(self, number: int) -> None:
        link = self.directory / "next"
        link.symlink_to(self.release(number).name)
        link.rename(self.current)

    def remove(self, number: int) -> None:
        shutil.rmtree(self.release(number))


def make_interpreter(path: Path) -> None:
    """A virtual environment without packages."""
    venv.EnvBuilder(symlinks=True).create(path)


class DeployedDaemon(Daemon):
    """Runs `PROGRAM ARGUMENTS` as a shell in `cwd` would, or as an init process that does not say
    where it is.
    """

    def __init__(
        self,
        directory: Path,
        database: Database,
        program: Sequence[str | Path],
        arguments: Sequence[str],
        *,
        cwd: Path,
        by_shell: bool = True,
        variables: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(directory, database, arguments, **settings)
        self._cwd = cwd
        self._words = [str(word) for word in program]
        self._by_shell = by_shell
        self._more = variables or {}

    def _program(self) -> list[str]:
        return self._words

    def _environment(self) -> dict[str, str]:
        variables = super()._environment() | self._more
        variables.pop("PWD", None)
        # A release's own interpreter finds the packages of the tests.
        packages = [path for path in sys.path if "site-packages" in path]
        variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), *packages])
        return {**variables, "PWD": str(self._cwd)} if self._by_shell else variables

    def wait_for_release(self, number: int) -> None:
        """A unit of this release has run, and since then no other."""
        self.wait_for("unit", release=number)
        seen = len(self.journal.events("unit"))
        self._wait(lambda: len(self.journal.events("unit")) >= seen + 2, 60, "units go on")
        assert self.journal.events("unit")[-1]["release"] == number
