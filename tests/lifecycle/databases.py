"""The daemon's database: a file, or a database and an account of its own on a server."""

import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import MySQLdb

from tests.support.server import Admin, Session


class Database(Protocol):
    settings: dict[str, Any]

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run it beside the daemon; committed at once."""

    def sessions(self) -> list[Session]:
        """List the server's sessions of this database's account; a file has none."""


class SQLiteDatabase:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.settings: dict[str, Any] = {
            "ENGINE": "pooldaemon.backends.sqlite3",
            "NAME": str(path),
        }

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=10)) as connection:
            return connection.execute(statement).fetchall()

    def sessions(self) -> list[Session]:
        return []


class MySQLDatabase:
    """:param admin: called for each question: a restarted server wants a new connection."""

    def __init__(self, url: str, admin: Callable[[], Admin]) -> None:
        self._admin = admin
        self.name = f"lifecycle_{secrets.token_hex(4)}"
        parts = urlsplit(url)
        self.settings: dict[str, Any] = {
            "ENGINE": "pooldaemon.backends.mysql",
            "HOST": parts.hostname,
            "PORT": str(parts.port or 3306),
            "NAME": self.name,
            "USER": self.name,
            "PASSWORD": secrets.token_hex(8),
            "OPTIONS": {},
        }
        admin().query(f"CREATE DATABASE {self.name}")
        admin().query(f"CREATE USER {self.name}@'%' IDENTIFIED BY '{self.settings['PASSWORD']}'")
        admin().query(f"GRANT ALL ON {self.name}.* TO {self.name}@'%'")

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        self._admin().query(f"USE {self.name}")
        return [tuple(row.values()) for row in self._admin().query(statement)]

    def sessions(self) -> list[Session]:
        return [session for session in self._admin().processlist() if session.user == self.name]

    def remove(self) -> None:
        self._admin().query(f"DROP USER {self.name}@'%'")
        # A failed test may still have its daemon, whose transaction would block the next line.
        for session in self.sessions():
            with suppress(MySQLdb.OperationalError):  # it has just ended by itself
                self._admin().kill(session.id)
        self._admin().query(f"DROP DATABASE {self.name}")
