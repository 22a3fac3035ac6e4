"""Signs of life when the system is short of something, or the health file's place has changed."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pooldaemon.workers.process.health import Health


def test_a_health_file_that_cannot_be_touched_is_logged_once_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "run"
    health = directory / "health"
    signs = Health({}, str(health))

    def beat() -> list[str]:
        caplog.clear()
        signs.beat("running", alive=True)
        return [record.getMessage() for record in caplog.records]

    logged = [f"Can't touch the health file {health}: No such file or directory"]
    for _ in range(2):
        assert [beat(), beat()] == [logged, []]
        directory.mkdir()
        assert beat() == []
        assert health.exists()
        health.unlink()
        directory.rmdir()


def test_a_link_in_its_place_is_not_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    health, target = tmp_path / "health", tmp_path / "target"
    health.symlink_to(target)
    Health({}, str(health)).beat("running", alive=True)
    assert f"Can't touch the health file {health}: it is a symbolic link" in caplog.text
    assert not target.exists()


def test_one_that_is_left_is_removed_at_a_start(tmp_path: Path) -> None:
    health = tmp_path / "health"
    health.touch()
    Health({}, str(health)).begin()
    assert not health.exists()
    Health({}, str(health)).begin()


class Systemd:
    """A socket, and what has come to it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def messages(self) -> list[str]:
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(4096).decode())
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("watchdog", [True, False])
def test_a_hook_that_holds_up_the_main_loop_is_announced(tmp_path: Path, *, watchdog: bool) -> None:
    systemd = Systemd(tmp_path / "notify")
    variables = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    signs = Health(variables | ({"WATCHDOG_USEC": "5000000"} if watchdog else {}))
    signs.expect_silence(60.0)
    signs.end_silence(20.0)
    messages = systemd.messages()
    systemd.close()
    signs.release()
    expected = [
        "WATCHDOG_USEC=75000000", "EXTEND_TIMEOUT_USEC=75000000",
        "WATCHDOG_USEC=5000000", "EXTEND_TIMEOUT_USEC=35000000",
    ]  # fmt: skip
    assert messages == (expected if watchdog else expected[1::2])


def test_a_start_is_prolonged_while_it_makes_progress(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "notify")
    signs = Health({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "5000000"})
    signs.beat("starting", alive=False)
    signs.beat("starting", alive=True)
    signs.ready()
    signs.beat("starting", alive=True)
    messages = systemd.messages()
    systemd.close()
    signs.release()
    assert messages == [
        "STATUS=starting", "EXTEND_TIMEOUT_USEC=10000000", "WATCHDOG=1", "READY=1", "WATCHDOG=1",
    ]  # fmt: skip


@contextmanager
def no_descriptor() -> Iterator[None]:
    """None is free, in this process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_without_a_free_descriptor_the_signs_of_life_go_on(tmp_path: Path) -> None:
    health, address = tmp_path / "health", tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        signs = Health({"NOTIFY_SOCKET": str(address)}, str(health))
        signs.go_on()
        signs.beat("running", alive=True)
        assert systemd.recv(100) == b"STATUS=running"
        assert systemd.recv(100) == b"WATCHDOG=1"
        os.utime(health, (0, 0))
        with no_descriptor():
            signs.beat("running", alive=True)
        assert systemd.recv(100) == b"WATCHDOG=1"
        assert health.stat().st_mtime > 0
        signs.release()


def test_what_systemd_could_not_take_it_is_sent_later_in_the_order(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    signs = Health({"NOTIFY_SOCKET": str(address)})
    signs.beat("starting", alive=False)
    signs.ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        signs.beat("starting", alive=False)
        assert [systemd.recv(100) for _ in range(2)] == [b"STATUS=starting", b"READY=1"]
        signs.release()
