"""The throw-away server does what its tests rely on, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import MySQLdb
import pytest

from scripts.throwaway_mariadb import HOST, ServerError
from tests.support.poll import wait_until
from tests.support.server import Admin, Server

SCRIPT = Path(__file__).parents[2] / "scripts" / "throwaway_mariadb.py"

StartServer = Callable[..., Server]


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


def test_a_new_server_shows_no_session(start_server: StartServer) -> None:
    assert start_server().processlist() == []


def test_the_processlist_shows_other_sessions_and_what_they_run(start_server: StartServer) -> None:
    server = start_server()
    with Admin(server.url) as other:
        other.query("SET @noted = 1")
        wait_until(
            lambda: [(s.user, s.command) for s in server.processlist()] == [("pool", "Sleep")],
            5,
            "the other session is not seen asleep",
        )
        (session,) = server.processlist()
        server.admin.kill(session.id)
        wait_until(lambda: not server.processlist(), 5, "the killed session stays")
        with pytest.raises(MySQLdb.OperationalError):
            other.query("SELECT 1")


def test_a_counter_counts_the_questions_asked(start_server: StartServer) -> None:
    admin = start_server().admin
    before = admin.status("Questions")
    admin.query("SELECT 1")
    assert admin.status("Questions") == before + 2


def test_options_reach_the_server(start_server: StartServer) -> None:
    admin = start_server("--max-connections=13").admin
    assert admin.query("SELECT @@max_connections AS n") == [{"n": 13}]


def test_data_port_and_account_outlive_a_restart_and_a_crash(start_server: StartServer) -> None:
    server = start_server()
    url = server.url
    server.admin.query("CREATE TABLE pool.kept (n INT) ENGINE=InnoDB")
    server.restart()
    server.admin.query("INSERT INTO pool.kept VALUES (1)")
    server.kill()
    server.start()
    assert server.url == url
    assert server.admin.query("SELECT n FROM pool.kept") == [{"n": 1}]


def test_a_paused_server_answers_after_it_is_resumed(start_server: StartServer) -> None:
    server = start_server()
    server.pause()
    state = Path(f"/proc/{server.pid}/stat")
    wait_until(lambda: state.read_text().split()[2] == "T", 5, "the server is not stopped")
    server.resume()
    assert server.admin.query("SELECT 1 AS n") == [{"n": 1}]


def test_a_paused_server_can_be_stopped(start_server: StartServer) -> None:
    server = start_server()
    server.pause()
    server.stop()
    assert not accepts(server.port)


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ServerError, match="no-such-option"), Server("--no-such-option"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_server_program_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda *args, **kwargs: None)
    with pytest.raises(ServerError, match="mariadbd not found: install mariadb-server-core"):
        Server()


def test_the_command_gets_the_url_and_its_status_is_passed_on(tmp_path: Path) -> None:
    look = "import os, sys; print(os.environ['DATABASE_URL']); sys.exit(7)"
    finished = subprocess.run(
        [sys.executable, SCRIPT, sys.executable, "-c", look],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 7
    assert finished.stdout.startswith("mysql://pool:")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_server_and_removes_its_data(
    ending: signal.Signals, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, SCRIPT],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2].partition("/")[0])
        assert accepts(port)
        process.send_signal(ending)
        assert process.wait(20) == 128 + ending
    assert not accepts(port)
    assert list(tmp_path.iterdir()) == []


def test_the_server_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, SCRIPT],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2].partition("/")[0])
        process.kill()
    wait_until(lambda: not accepts(port), 5, "the server outlived its owner")
