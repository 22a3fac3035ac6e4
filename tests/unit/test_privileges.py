"""Files that root opens for the user as whom a daemon is to run."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooldaemon.workers.process.files import open_file
from pooldaemon.workers.process.logfiles import open_logfile
from pooldaemon.workers.process.privileges import is_roots, opening

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

NOBODY = 65534


@pytest.fixture
def roots() -> Iterator[Path]:
    """A directory that is root's, with all above it."""
    with tempfile.TemporaryDirectory(dir="/run") as name:
        directory = Path(name)
        directory.chmod(0o755)
        if not is_roots(directory / "file"):
            pytest.skip("/run is not root's alone")
        yield directory


@pytest.fixture
def users(roots: Path) -> Path:
    """A directory of the user's, in one of root's."""
    directory = roots / "service"
    directory.mkdir()
    os.chown(directory, NOBODY, NOBODY)
    return directory


def identity() -> tuple[int, int, list[int]]:
    return os.geteuid(), os.getegid(), os.getgroups()


def test_in_a_directory_of_the_user_root_is_the_user(users: Path) -> None:
    before = identity()
    with opening(users / "log", NOBODY, NOBODY):
        assert os.geteuid() == NOBODY
        os.close(open_logfile(str(users / "log")))
    assert identity() == before
    assert (users / "log").stat().st_uid == NOBODY


def test_a_link_of_the_user_leads_nowhere_that_he_may_not_go(roots: Path, users: Path) -> None:
    secret = roots / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    (users / "log").symlink_to(secret)
    with pytest.raises(PermissionError), opening(users / "log", NOBODY, NOBODY):
        open_logfile(str(users / "log"))
    assert os.geteuid() == 0
    assert (secret.read_text(), secret.stat().st_uid) == ("root's", 0)


def test_in_a_directory_of_root_the_file_is_made_and_given_away(roots: Path) -> None:
    path = roots / "log"
    for _ in range(2):  # the second time it is there already
        with opening(path, NOBODY, NOBODY):
            os.close(open_file(path, os.O_WRONLY | os.O_CREAT))
        assert path.stat().st_uid == NOBODY


def test_who_is_no_other_user_stays_himself(users: Path) -> None:
    with opening(users / "log", 0, 0):
        assert os.geteuid() == 0


def test_what_others_can_change_is_not_roots(roots: Path, users: Path) -> None:
    assert is_roots(roots / "file")
    assert not is_roots(users / "file")
    assert not is_roots(users / "below" / "file")
    for name, mode in (("group", 0o775), ("all", 0o1777)):
        (roots / name).mkdir()
        (roots / name).chmod(mode)
        assert not is_roots(roots / name / "file")
    (roots / "link").symlink_to(users)
    assert not is_roots(roots / "link" / "file")
    (roots / "own").mkdir()
    (roots / "chain").symlink_to("own")
    assert is_roots(roots / "chain" / "file")
    (roots / "round").symlink_to("round")
    assert not is_roots(roots / "round" / "file")
    (roots / "file").symlink_to("elsewhere")
    assert not is_roots(roots / "file")


def test_root_follows_no_link_to_a_log_in_the_directory_of_another_user(users: Path) -> None:
    (users / "log").symlink_to(users / "other")
    with pytest.raises(OSError, match="it is a symbolic link"):
        open_logfile(str(users / "log"))


def test_a_log_may_be_a_device_and_no_fifo(tmp_path: Path) -> None:
    descriptor = open_logfile("/dev/null")
    assert stat.S_ISCHR(os.fstat(descriptor).st_mode)
    assert os.get_blocking(descriptor)
    os.close(descriptor)
    os.mkfifo(tmp_path / "log")
    with pytest.raises(OSError, match="it is a FIFO"):
        open_logfile(str(tmp_path / "log"))
