"""Django's test suite: fetched for the installed version, run on one backend at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from ctypes.util import find_library
from itertools import groupby
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / ".conformance"
Outcomes = dict[str, str]

# Directories that tests look at.
NO_APPS = {"import_error_package", "test_runner_apps"}
GIS_APP = "gis_tests"
BATCH = 10
"""So many apps run in one process: to create their tables takes most of the time of many."""
TIMEOUT = 3600.0
"""Seconds for one batch. It takes minutes on an idle machine."""


class SuiteError(Exception):
    """The test suite could not be had, or did not run to its end."""


class Suite:
    """The directory ``tests`` of Django's source distribution."""

    def __init__(self) -> None:
        version = django.get_version()
        self.directory = SOURCES / f"django-{version}" / "tests"
        if not self.directory.is_dir():
            self._fetch(version)

    def apps(self) -> list[str]:
        """All that holds tests which can run on MySQL."""
        found = {path.parent.name for path in self.directory.glob("*/__init__.py")} - NO_APPS
        if not has_gis_libraries():
            print(f"{GIS_APP}: left out, for GDAL or GEOS is not installed")
            found.remove(GIS_APP)
        return sorted(found)

    def run(self, backend: str, labels: Sequence[str]) -> Outcomes:
        """
        :returns: by test, how it ended.
        :raises SuiteError: the suite broke off.
        """
        with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
            record, log = Path(directory) / "record.json", Path(directory) / "log"
            with log.open("w", encoding="utf-8") as output:
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-X", "faulthandler"),
                        *("-W", "ignore::DeprecationWarning", "runtests.py"),
                        *("--settings=conformance.settings", "--parallel=1", "--noinput", *labels),
                    ],
                    cwd=self.directory,
                    env=_environment(self.directory, backend, record, labels),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
                _wait(process)
            if not record.exists():
                tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
                raise SuiteError(f"Django's {' '.join(labels)} broke off on {backend}:\n{tail}")
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


def has_gis_libraries() -> bool:
    return all(map(find_library, ("gdal", "geos_c")))


def batches(labels: Iterable[str]) -> Iterator[list[str]]:
    """Those that run in one process. GeoDjango's need another backend."""
    for _, alike in groupby(labels, is_gis):
        remaining = list(alike)
        while remaining:
            yield remaining[:BATCH]
            del remaining[:BATCH]


def is_gis(label: str) -> bool:
    return label.partition(".")[0] == GIS_APP


def _environment(
    directory: Path, backend: str, record: Path, labels: Sequence[str]
) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)]),
        "CONFORMANCE_BACKEND": backend,
        "CONFORMANCE_GIS": "yes" if is_gis(labels[0]) else "",
        "CONFORMANCE_RECORD": str(record),
    }


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler tells where each thread is
        process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
