"""A database and an account of these tests' own, on the server of DATABASE_URL or another."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.support.server import Admin, Session


@dataclass(frozen=True)
class Account:
    """How to reach a database."""

    user: str
    password: str
    host: str
    port: int
    name: str

    @classmethod
    def from_url(cls, url: str) -> Self:
        parts = urlsplit(url)
        return cls(
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            parts.hostname or "",
            parts.port or 3306,
            parts.path.lstrip("/"),
        )

    @property
    def url(self) -> str:
        return f"mysql://{self.user}:{self.password}@{self.host}:{self.port}/{self.name}"

    def settings(self, **changes: Any) -> dict[str, Any]:
        """An entry of DATABASES."""
        return {
            "ENGINE": "pooldaemon.backends.mysql",
            "NAME": self.name,
            "USER": self.user,
            "PASSWORD": self.password,
            "HOST": self.host,
            "PORT": str(self.port),
        } | changes


@dataclass(frozen=True)
class Scratch:
    """An account that sees its own database only: what others do on the server is not there."""

    account: Account
    admin: Admin

    def sessions(self) -> list[Session]:
        """The account's sessions, as the server sees them."""
        return [one for one in self.admin.processlist() if one.user == self.account.user]


@contextmanager
def scratch_on(admin: Admin, url: str, limits: str = "") -> Iterator[Scratch]:
    """:param limits: such as `WITH MAX_USER_CONNECTIONS 3`."""
    # No underscore: in a GRANT it would stand for any character.
    name = f"pd{os.getpid()}{secrets.token_hex(3)}"
    server = Account.from_url(url)
    account = Account(name, secrets.token_hex(8), server.host, server.port, name)
    admin.query(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    admin.query(f"CREATE USER '{name}'@'%%' IDENTIFIED BY %s {limits}", [account.password])
    admin.query(f"GRANT ALL ON {name}.* TO '{name}'@'%'")
    try:
        yield Scratch(account, admin)
    finally:
        admin.query(f"DROP DATABASE {name}")
        admin.query(f"DROP USER '{name}'@'%'")
