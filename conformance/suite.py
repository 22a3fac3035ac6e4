"""Django's test suite: fetched for the installed version, run on one backend at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
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


class NoTestsError(SuiteError):
    """There is nothing to run."""


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
        outcomes = recorded(
            f"Django's {' '.join(labels)} on {backend}",
            [
                *(sys.executable, "-X", "faulthandler"),
                *("-W", "ignore::DeprecationWarning", "runtests.py"),
                *("--settings=conformance.settings", "--parallel=1", "--noinput", *labels),
            ],
            self.directory,
            {
                "PYTHONPATH": os.pathsep.join([str(self.directory), str(ROOT)]),
                "CONFORMANCE_BACKEND": backend,
                "CONFORMANCE_GIS": "yes" if is_gis(labels[0]) else "",
            },
        )
        unknown = [test for test in outcomes if test.startswith("unittest.loader.")]
        if unknown:
            raise SuiteError(f"{unknown[0].rpartition('.')[2]}: {outcomes[unknown[0]]}")
        return outcomes

    def _fetch(self, version: str) -> None:
        fetch("django", f"django=={version}", self.directory.parent)


def fetch(package: str, requirement: str, directory: Path) -> None:
    """Unpack the source distribution of a package.

    :raises SuiteError: pip can't have it.
    """
    SOURCES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SOURCES) as place:
        pip = [*(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")]
        pip += [f"--no-binary={package}", f"--dest={place}", requirement]
        if subprocess.run(pip, check=False).returncode:
            raise SuiteError(f"pip could not download the source of {requirement}")
        (archive,) = Path(place).glob("*.tar.gz")
        with tarfile.open(archive) as source:
            source.extractall(place, filter="data")
        (unpacked,) = (path for path in Path(place).iterdir() if path.is_dir())
        directory.parent.mkdir(parents=True, exist_ok=True)
        unpacked.rename(directory)


def recorded(
    what: str,
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    timeout: float = TIMEOUT,
) -> Outcomes:
    """Run *command*, which writes the outcomes to the file that CONFORMANCE_RECORD names.

    :raises SuiteError: it did not, or not within *timeout*.
    """
    with tempfile.TemporaryDirectory(prefix="conformance-") as place:
        record, log = Path(place) / "record.json", Path(place) / "log"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env={**os.environ, **environment, "CONFORMANCE_RECORD": str(record)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            in_time = _wait(process, timeout)
        if not record.exists():
            how = "broke off" if in_time else f"did not end within {timeout:g} s"
            tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise SuiteError(f"{what} {how}:\n{tail}")
        outcomes: Outcomes = json.loads(record.read_text(encoding="utf-8"))
        return outcomes


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


def _wait(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """:returns: whether it ended in time. What its tests have started and left is killed."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler prints where each thread is
        process.wait()
        return False
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return True
