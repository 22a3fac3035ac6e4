"""A MySQL server of one test's own, from binaries that are there already."""

import shlex
import subprocess

from scripts.throwaway_mariadb import HOST, ServerError, end_with_parent, run_to_end
from tests.support.server import Server

SIZE_OPTIONS = ("--innodb-buffer-pool-size=64M", "--innodb-redo-log-capacity=16M")


class MySQLServer(Server):
    """:param command: what runs `mysqld`, in the words of a shell."""

    def __init__(self, command: str) -> None:
        super().__init__()
        self._command = [*shlex.split(command), "--user=root", *SIZE_OPTIONS]

    def _install(self) -> None:
        data = f"--datadir={self._home / 'data'}"
        if run_to_end([*self._command, "--initialize-insecure", data], self._log) != 0:
            raise ServerError(f"mysqld --initialize failed:\n{self._log_tail()}")

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        command = [
            *end_with_parent(),
            *self._command,
            f"--datadir={self._home / 'data'}",
            f"--socket={self._socket}",
            f"--pid-file={self._home / 'pid'}",
            f"--init-file={self._home / 'accounts.sql'}",
            f"--tmpdir={self._home / 'tmp'}",
            f"--bind-address={HOST}",
            f"--port={port}",
            "--mysqlx=OFF",
            "--skip-log-bin",
            "--secure-file-priv=",
            "--innodb-flush-log-at-trx-commit=2",
        ]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
