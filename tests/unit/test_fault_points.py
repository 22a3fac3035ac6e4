"""Fault points do nothing, unless a test that runs has armed them."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pooldaemon import faults
from pooldaemon.faults import FaultError, arm, fault_point
from pooldaemon.testing import DaemonProcess, wait_until

POINT = "before_unit"


@pytest.fixture(autouse=True)
def disarm() -> Iterator[None]:
    yield
    faults._Armed.directory = None


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """One that is not started; this process does as if it were it."""
    daemon = DaemonProcess(tmp_path / "daemon", [])
    daemon.prepare()
    yield daemon
    os.close(daemon._owner)


@pytest.fixture
def directory(daemon: DaemonProcess) -> Path:
    return daemon.directory / "faults"


def test_without_the_variable_nothing_happens(daemon: DaemonProcess) -> None:
    daemon.arm(POINT, "crash")
    arm({})
    fault_point(POINT)


def test_a_point_raises_as_often_as_it_was_asked_to(daemon: DaemonProcess, directory: Path) -> None:
    arm({faults.VARIABLE: str(directory)})
    fault_point(POINT)
    daemon.arm(POINT, "raise", times=2)
    for _ in range(2):
        with pytest.raises(FaultError, match=POINT):
            fault_point(POINT)
    fault_point(POINT)
    daemon.arm(POINT, "raise")
    with pytest.raises(FaultError):
        fault_point(POINT)


def test_another_point_is_passed(daemon: DaemonProcess, directory: Path) -> None:
    arm({faults.VARIABLE: str(directory)})
    daemon.arm("shop.charged.twice", "raise")
    for point in ("shop", "shop.charged", "charged.twice", POINT):
        fault_point(point)
    with pytest.raises(FaultError):
        fault_point("shop.charged.twice")


def test_only_one_of_many_threads_meets_it(daemon: DaemonProcess, directory: Path) -> None:
    arm({faults.VARIABLE: str(directory)})
    daemon.arm(POINT, "raise")
    met, barrier = [], threading.Barrier(8)

    def pass_by() -> None:
        barrier.wait()
        try:
            fault_point(POINT)
        except FaultError as error:
            met.append(error)

    threads = [threading.Thread(target=pass_by) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(met) == 1


def test_a_point_hangs_until_it_is_released(
    daemon: DaemonProcess, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm({faults.VARIABLE: str(directory)})
    daemon.arm(POINT, "hang")
    pauses: list[float] = []

    sleep = time.sleep

    def pause(seconds: float) -> None:
        if threading.current_thread() is thread:
            pauses.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", pause)
    thread = threading.Thread(target=fault_point, args=(POINT,), daemon=True)
    thread.start()
    wait_until(lambda: len(pauses) >= 3, 5, "it does not go on hanging")
    daemon.release(POINT)
    thread.join(5)
    assert not thread.is_alive()


def test_a_crash_runs_no_clean_up(daemon: DaemonProcess, directory: Path) -> None:
    daemon.arm(POINT, "crash")
    code = f"""
import atexit, os
from pooldaemon.faults import arm, fault_point
atexit.register(print, "cleaned up")
arm(os.environ)
try:
    fault_point({POINT!r})
finally:
    print("cleaned up")
"""
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, faults.VARIABLE: str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stdout) == (os.EX_SOFTWARE, "")


def gone(daemon: DaemonProcess) -> None:
    (daemon.directory / "faults" / "owner").unlink()


def over(daemon: DaemonProcess) -> None:
    fcntl.flock(daemon._owner, fcntl.LOCK_UN)


def shared(daemon: DaemonProcess) -> None:
    (daemon.directory / "faults").chmod(0o770)


@pytest.mark.parametrize("change", [gone, over, shared])
def test_a_variable_that_went_astray_is_refused(
    daemon: DaemonProcess, directory: Path, change: Callable[[DaemonProcess], None]
) -> None:
    change(daemon)
    with pytest.raises(ValueError, match=r"POOLDAEMON_FAULTS is '.*'.*; unset it"):
        arm({faults.VARIABLE: str(directory)})
    assert faults._Armed.directory is None
