"""Django's test suite: fetched for the installed version, run on one backend at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / ".conformance"
Outcomes = dict[str, str]


class SuiteError(Exception):
    """The test suite could not be had, or did not run to its end."""


class Suite:
    """The directory ``tests`` of Django's source distribution."""

    def __init__(self) -> None:
        version = django.get_version()
        self.directory = SOURCES / f"django-{version}" / "tests"
        if not self.directory.is_dir():
            self._fetch(version)

    def run(self, backend: str, labels: Sequence[str]) -> Outcomes:
        """
        :param labels: what to run; all if there are none.
        :returns: by test, how it ended.
        :raises SuiteError: the suite broke off.
        """
        with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
            record, log = Path(directory) / "record.json", Path(directory) / "log"
            with log.open("w", encoding="utf-8") as output:
                subprocess.run(
                    [
                        *(sys.executable, "-W", "ignore::DeprecationWarning", "runtests.py"),
                        *("--settings=conformance.settings", "--parallel=1", "--noinput", *labels),
                    ],
                    cwd=self.directory,
                    env={
                        **os.environ,
                        "PYTHONPATH": os.pathsep.join([str(self.directory), str(ROOT)]),
                        "CONFORMANCE_BACKEND": backend,
                        "CONFORMANCE_RECORD": str(record),
                    },
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,  # failing tests are what is looked for
                )
            if not record.exists():
                tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
                raise SuiteError(f"Django's tests broke off on {backend}:\n{tail}")
            outcomes: Outcomes = json.loads(record.read_text(encoding="utf-8"))
        unknown = [test for test in outcomes if test.startswith("unittest.loader.")]
        if unknown:
            raise SuiteError(f"{unknown[0].rpartition('.')[2]}: {outcomes[unknown[0]]}")
        return outcomes

    def _fetch(self, version: str) -> None:
        SOURCES.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SOURCES) as directory:
            pip = [*(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")]
            pip += ["--no-binary=django", f"--dest={directory}", f"django=={version}"]
            if subprocess.run(pip, check=False).returncode:
                raise SuiteError(f"pip could not download the source of Django {version}")
            (archive,) = Path(directory).glob("*.tar.gz")
            with tarfile.open(archive) as source:
                source.extractall(directory, filter="data")
            (unpacked,) = (path for path in Path(directory).iterdir() if path.is_dir())
            unpacked.rename(self.directory.parent)
