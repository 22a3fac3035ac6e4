"""What lies in the place of a daemon's files: links, FIFOs, and what belongs to others."""

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from pooldaemon.workers.process.files import open_file

NOBODY = 65534
WRITE = os.O_WRONLY | os.O_CREAT
READ = os.O_RDONLY


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def make_link(path: Path) -> None:
    path.with_name("target").write_text("theirs")
    path.symlink_to(path.with_name("target"))


def make_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as one:
        one.bind(str(path))


@pytest.mark.parametrize("flags", [READ, WRITE, os.O_RDWR | os.O_CREAT])
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (make_link, "it is a symbolic link"),
        (os.mkfifo, "it is a FIFO"),
        (Path.mkdir, "it is a directory"),
        (make_socket, "it is a socket"),
    ],
)
def test_what_is_no_regular_file_is_named(
    tmp_path: Path, flags: int, make: "os.PathLike[str]", kind: str
) -> None:
    path = tmp_path / "file"
    make(path)  # type: ignore[operator]
    before = open_descriptors()
    with pytest.raises(OSError, match=kind):
        open_file(path, flags)
    assert open_descriptors() == before


def test_a_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    descriptor = open_file(tmp_path / "file", WRITE)
    assert os.fstat(descriptor).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("flags", [READ, WRITE])
def test_a_file_of_another_user_is_named(tmp_path: Path, flags: int) -> None:
    path = tmp_path / "file"
    path.touch()
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match=rf"another user \(uid {NOBODY}\)"):
        open_file(path, flags)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "none", READ)
