"""The file that outlives a daemon which was killed with all its workers."""

import os
import stat
from pathlib import Path

import pytest

from pooldaemon.sessions import Session
from pooldaemon.workers.supervisor.session_file import SessionFile

ONE, OTHER = Session("default", 5, 40000), Session("replica", 6, 0)


def test_what_was_written_last_is_left_over_for_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    session_file = SessionFile(path)
    session_file.write([ONE])
    session_file.write([ONE, OTHER])
    sessions, written = SessionFile(path).left_over()
    assert sessions == {ONE, OTHER}
    assert written == path.stat().st_mtime
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["sessions"]


def test_a_daemon_that_ends_in_order_leaves_nothing(tmp_path: Path) -> None:
    session_file = SessionFile(tmp_path / "sessions")
    session_file.write([ONE])
    session_file.clear()
    session_file.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "5", "[5]", '[["default"]]', "\\udc80", "[" * 10**5),
        *('[["default", true, 1]]', '[["default", "5 OR 1", 1]]', "[[7, 5, 1]]"),
        *('[["default", -5, 1]]', '[["default", 5, 65536]]', '[["default", 5, NaN]]'),
    ],
)
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sessions"
    path.write_text(text)
    assert SessionFile(path).left_over() == (frozenset(), 0.0)


def test_a_link_in_its_place_is_replaced_and_what_it_points_to_left_alone(tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "sessions"
    precious.write_text("data")
    for name in ("sessions", "sessions.new"):
        (tmp_path / name).symlink_to(precious)
    SessionFile(path).write([ONE])
    assert precious.read_text() == "data"
    assert SessionFile(path).left_over()[0] == {ONE}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_list_of_another_user_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sessions"
    SessionFile(path).write([ONE])
    os.chown(path, 65534, 65534)
    assert SessionFile(path).left_over() == (frozenset(), 0.0)
    assert "is not used: it belongs to another user (uid 65534)" in caplog.text


def test_a_fifo_in_its_place_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sessions"
    os.mkfifo(path)
    assert SessionFile(path).left_over() == (frozenset(), 0.0)
    assert "is not used: it is a FIFO" in caplog.text
    SessionFile(path).write([ONE])
    assert SessionFile(path).left_over()[0] == {ONE}


def test_what_a_full_disk_has_refused_is_written_later(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "sessions"
    session_file = SessionFile(path)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            session_file.write([ONE])
    path.parent.mkdir()
    session_file.write([ONE])
    assert SessionFile(path).left_over()[0] == {ONE}
