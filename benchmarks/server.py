"""The server measured on: its address, what it says of itself, what it has counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

import MySQLdb

from tests.support.server import Admin

SCHEMES = ("mysql", "mariadb")

COUNTERS = ("Questions", "Connections", "Com_admin_commands", "Bytes_received")
"""A ping is no question, but an admin command."""


class WrongAddressError(ValueError):
    """DATABASE_URL is missing or not one of a MySQL or MariaDB server."""


@dataclass(frozen=True)
class Target:
    """Where to connect. Immutable."""

    host: str
    port: int
    user: str
    password: str
    database: str

    @classmethod
    def from_url(cls, url: str) -> Target:
        parts = urlsplit(url)
        try:
            port = parts.port or 3306
        except ValueError:  # no number, or too large
            port = 0
        if parts.scheme not in SCHEMES or not parts.hostname or not port:
            raise WrongAddressError(
                "DATABASE_URL must be mysql://user:password@host:port/name, or mariadb://…"
            )
        return cls(
            parts.hostname,
            port,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            unquote(parts.path.lstrip("/")),
        )

    def url(self) -> str:
        return f"mysql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"

    def driver_arguments(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": self.database,
            "charset": "utf8mb4",
        }

    def django_settings(self) -> dict[str, Any]:
        return {
            "HOST": self.host,
            "PORT": str(self.port),
            "USER": self.user,
            "PASSWORD": self.password,
            "NAME": self.database,
        }

    def admin(self) -> Admin:
        return Admin(self.url())


@contextmanager
def scratch_database(target: Target) -> Iterator[Target]:
    """A database of the benchmarks' own on the same server, gone at the end."""
    name = f"pooldaemon_bench_{os.getpid()}"
    with target.admin() as admin:
        admin.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    try:
        yield replace(target, database=name)
    finally:
        with target.admin() as admin:
            admin.query(f"DROP DATABASE `{name}`")


def describe(target: Target) -> tuple[str, str]:
    """``"mariadb"`` or ``"mysql"``, and its version."""
    with target.admin() as admin:
        (row,) = admin.query("SELECT VERSION() AS version, @@version_comment AS comment")
    version = f"{row['version']} ({row['comment']})"
    return ("mariadb" if "mariadb" in version.lower() else "mysql"), version


def offers_tls(target: Target) -> bool:
    """Asked of a session: some client libraries go on in plain text where TLS is required."""
    try:
        connection = MySQLdb.connect(**target.driver_arguments(), ssl_mode="REQUIRED")
    except MySQLdb.OperationalError:
        return False
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        return bool(cursor.fetchone()[1])


def count_work(target: Target, work: Callable[[], object]) -> dict[str, int]:
    """What the server has counted while *work* ran, this measurement's own question left out.

    The counters are the whole server's: others working on it at the same time add to them.
    """
    with target.admin() as admin:
        before = _read(admin)
        work()
        after = _read(admin)
    counted = {name: after[name] - before[name] for name in COUNTERS}
    counted["Questions"] -= 1
    counted["Bytes_received"] -= _bytes_of_reading(target)
    return counted


def _read(admin: Admin) -> dict[str, int]:
    rows = admin.query(f"SHOW GLOBAL STATUS WHERE Variable_name IN {COUNTERS}")
    return {row["Variable_name"]: int(row["Value"]) for row in rows}


def _bytes_of_reading(target: Target) -> int:
    with target.admin() as admin:
        before = _read(admin)
        return _read(admin)["Bytes_received"] - before["Bytes_received"]
