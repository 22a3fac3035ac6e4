"""What tests and benchmarks ask of a MySQL or MariaDB server behind the project's back."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import MySQLdb
from MySQLdb.cursors import DictCursor

from scripts.throwaway_mariadb import ThrowawayMariaDB
from tests.support.freeze import freeze

TIMEOUT = 10  # seconds; a frozen server must fail a test, not hang it


@dataclass(frozen=True)
class Session:
    """A line of the server's processlist; `seconds` in the present `command`."""

    id: int
    user: str
    host: str
    database: str | None
    command: str
    seconds: int
    state: str | None
    statement: str | None


class Admin:
    """A connection of one's own to look at a server, and to interfere.

    It is a session like others: it counts towards max_connections, each call is one question.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = MySQLdb.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            autocommit=True,
            connect_timeout=TIMEOUT,
            read_timeout=TIMEOUT,
            write_timeout=TIMEOUT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with self._connection.cursor(DictCursor) as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall())

    def processlist(self) -> list[Session]:
        """List the clients' sessions, its own and the server's excepted."""
        own = self._connection.thread_id()
        return [
            Session(
                id=row["Id"],
                user=row["User"],
                host=row["Host"],
                database=row["db"],
                command=row["Command"],
                seconds=int(row["Time"] or 0),
                state=row["State"],
                statement=row["Info"],
            )
            for row in self.query("SHOW FULL PROCESSLIST")
            if row["Id"] != own and row["Command"] != "Daemon"
        ]

    def status(self, name: str) -> int:
        """Read a counter of the server, such as Questions or Threads_connected."""
        rows = self.query("SHOW GLOBAL STATUS WHERE Variable_name = %s", [name])
        if not rows:
            raise LookupError(f"the server has no status variable {name!r}")
        return int(rows[0]["Value"])

    def kill(self, session: int) -> None:
        self.query("KILL %s", [session])


class Server(ThrowawayMariaDB):
    """A throw-away server of one test's own, to be stopped, frozen and crashed."""

    def __init__(self, *options: str) -> None:
        super().__init__(*options)
        self._admin: Admin | None = None

    @property
    def admin(self) -> Admin:
        """The connection to look through; a new one after the server was down."""
        if self._admin is None:
            self._admin = Admin(self.url)
        return self._admin

    def processlist(self) -> list[Session]:
        return self.admin.processlist()

    def pause(self) -> None:
        freeze(self.pid)

    def stop(self) -> None:
        self._forget_admin()
        super().stop()

    def kill(self) -> None:
        self._forget_admin()
        super().kill()

    def _install(self) -> None:
        """Only the first of a process takes the time; the others copy what it has installed."""
        if _Template.owner != os.getpid():
            super()._install()
            _Template.keep(self._data)
        else:
            shutil.copytree(_Template.data, self._data)

    def _forget_admin(self) -> None:
        if self._admin is not None:
            # Closing a connection says goodbye; a frozen server's socket buffer takes that too.
            self._admin.close()
            self._admin = None


class _Template:
    """Installed data that no server has run on. A forked child has none."""

    owner = 0
    data: Path

    @classmethod
    def keep(cls, data: Path) -> None:
        home = Path(tempfile.mkdtemp(prefix="throwaway-mariadb-"))
        atexit.register(cls._remove, home, os.getpid())
        cls.data = home / "data"
        shutil.copytree(data, cls.data)
        cls.owner = os.getpid()

    @staticmethod
    def _remove(home: Path, owner: int) -> None:
        if owner == os.getpid():
            shutil.rmtree(home, ignore_errors=True)
