#!/usr/bin/env python3
"""A MariaDB server of one's own: fresh data in a temporary directory, gone without a trace.

As a command it starts a server and

    throwaway_mariadb.py                  prints its URL and keeps it until Ctrl-C or TERM
    throwaway_mariadb.py COMMAND [ARG…]   runs COMMAND with DATABASE_URL set, exits as it exits

Standard library only: it runs before anything is installed. Needs Debian's mariadb-server-core
and mariadb-client-core, or the same from elsewhere.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self

HOST = "127.0.0.1"
DATABASE = USER = "pool"
START_TIMEOUT = 60.0  # seconds; a loaded machine needs a few, an idle one half a second
STOP_TIMEOUT = 30.0
COMMAND_GRACE = 20.0  # seconds a command has to clean up after Ctrl-C or TERM
START_ATTEMPTS = 3  # a free port can be taken by someone else before the server binds it
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Small, and careless about power cuts: nobody keeps this data. It does survive a crash of the
# server (flush 2, not 0): tests kill it and count rows afterwards.
SIZE_OPTIONS = ("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M")
SERVER_OPTIONS = (
    "--character-set-server=utf8mb4",
    "--innodb-flush-log-at-trx-commit=2",
    "--skip-log-bin",
    "--skip-name-resolve",
)


class ServerError(RuntimeError):
    """The server is not installed, did not start or did not stop; says what to do."""


class ThrowawayMariaDB:
    """A server that can be started, stopped, frozen and killed; `close()` removes it.

    `options` are mariadbd's own, such as `--max-connections=5`. Port, data and password outlive a
    restart. Start it in the main thread: so that it can't outlive a kill -9 of its owner, the
    kernel ends it with the *thread* that started it.
    """

    def __init__(self, *options: str) -> None:
        self.options = options
        self.password = secrets.token_hex(8)
        self.port = 0
        self._mariadbd = find_program("mariadbd")
        self._process: subprocess.Popen[bytes] | None = None
        # Not below a test's own directory: a socket's path may have at most 107 bytes.
        self._home = Path(tempfile.mkdtemp(prefix="throwaway-mariadb-"))
        self._data = self._home / "data"
        self._log = self._home / "server.log"
        self._socket = self._home / "socket"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """An account with all rights, at an empty database."""
        return f"mysql://{USER}:{self.password}@{HOST}:{self.port}/{DATABASE}"

    @property
    def home(self) -> Path:
        """Where it keeps everything."""
        return self._home

    @property
    def has_ended(self) -> bool:
        """It has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Return once it takes logins. After a restart the port is the same: clients wait there."""
        if self._process is not None and self._process.poll() is None:
            raise ServerError("the server is running already")
        if not self._data.exists():
            (self._home / "tmp").mkdir()
            self._write_accounts()
            self._install()
        for port in [self.port] if self.port else [free_port() for _ in range(START_ATTEMPTS)]:
            self._process = self._spawn(port)
            if self._wait_for_greeting(self._process):
                self.port = port
                return
            self.kill()
        raise ServerError(f"mariadbd did not start:\n{self._log_tail()}")

    def stop(self) -> None:
        """Shut down as for an upgrade: sessions are ended, data is written."""
        process = self._running()
        self.resume()
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"mariadbd did not stop within {STOP_TIMEOUT:g} s") from None
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """Crash it. It can be started again."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def wait(self) -> None:
        """Return when it has ended by itself."""
        self._running().wait()

    def close(self) -> None:
        """End it and remove everything; may be called again."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process

    def _install(self) -> None:
        """Create the system tables. They hold nothing of this server's own."""
        command = [
            find_program("mariadb-install-db"),
            "--no-defaults",
            f"--datadir={self._data}",
            f"--tmpdir={self._home / 'tmp'}",  # see _spawn()
            "--auth-root-authentication-method=socket",
            "--skip-test-db",
            *SIZE_OPTIONS,
            *account_options(),
        ]
        if run_to_end(command, self._log) != 0:
            raise ServerError(f"mariadb-install-db failed:\n{self._log_tail()}")

    def _write_accounts(self) -> None:
        """The statements that each start runs, to create the account."""
        accounts = self._home / "accounts.sql"
        accounts.write_text(
            f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n"
            f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n",
            encoding="ascii",
        )

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        command = [
            *end_with_parent(),
            self._mariadbd,
            "--no-defaults",
            f"--datadir={self._data}",
            f"--socket={self._socket}",
            f"--pid-file={self._home / 'pid'}",
            f"--init-file={self._home / 'accounts.sql'}",
            # Its own: a server that starts removes what looks like another's leftovers there.
            f"--tmpdir={self._home / 'tmp'}",
            f"--bind-address={HOST}",
            f"--port={port}",
            *SIZE_OPTIONS,
            *SERVER_OPTIONS,
            *account_options(),
            *self.options,
        ]
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is for those who use the server.
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _wait_for_greeting(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_TIMEOUT
        while process.poll() is None and time.monotonic() < deadline:
            if greets(self._socket):
                return True
            time.sleep(0.02)
        return False

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])


def find_program(name: str) -> str:
    # Servers live in /usr/sbin, which is not on everyone's PATH.
    found = shutil.which(
        name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    )
    if found is None:
        raise ServerError(
            f"{name} not found: install mariadb-server-core and mariadb-client-core (Debian)"
        )
    return found


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def account_options() -> list[str]:
    """mariadbd refuses to run as root unless told to."""
    return ["--user=root"] if os.geteuid() == 0 else []


def end_with_parent() -> list[str]:
    """The words before a command that make the kernel end it when its starter is gone."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def greets(address: Path) -> bool:
    """Whether the server sends its first packet, which it does when it takes logins.

    The private socket, not the port: by then the port is open too, and nobody else's. Waits until
    the server has ended this session, so that the first to look sees none.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(START_TIMEOUT)
        try:
            client.connect(str(address))
            greeting = client.recv(4096)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
        except OSError:
            return False
        return greeting[4:5] == b"\x0a"


def run_to_end(command: Sequence[str], log_path: Path) -> int:
    """Run a command and whatever it starts; an exception here ends them all."""
    with (
        log_path.open("ab") as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            return process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def leave(signum: int, _frame: FrameType | None) -> NoReturn:
    """Unwind once; further signals must not cut the clean-up short."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + signum)


def run_with(url: str, command: Sequence[str]) -> int:
    """Run the command to its end and return its status, as a shell would."""
    try:
        process = subprocess.Popen(command, env={**os.environ, "DATABASE_URL": url})
    except OSError as error:
        raise ServerError(f"cannot run {command[0]}: {error.strerror}") from None
    try:
        status = process.wait()
    except SystemExit as ending:
        wind_down(process, int(ending.code or 0) - 128)
        raise
    return status if status >= 0 else 128 - status


def wind_down(process: subprocess.Popen[bytes], received: int) -> None:
    # Ctrl-C in a terminal has reached the command already; twice would cut its clean-up short.
    if received != signal.SIGINT:
        process.send_signal(received)
    for stronger in (signal.SIGTERM, signal.SIGKILL):
        with suppress(subprocess.TimeoutExpired):
            process.wait(COMMAND_GRACE)
            return
        process.send_signal(stronger)
    process.wait()


def main(command: Sequence[str]) -> int:
    for number in ENDING_SIGNALS:
        signal.signal(number, leave)
    try:
        with ThrowawayMariaDB() as server:
            if command:
                return run_with(server.url, command)
            print(server.url, flush=True)
            server.wait()
            raise ServerError("mariadbd ended by itself")
    except ServerError as error:
        print(f"throwaway_mariadb: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
