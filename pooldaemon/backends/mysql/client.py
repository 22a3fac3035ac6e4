"""``manage.py dbshell`` with the password of a provider."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError
from django.db.backends.mysql import client

from pooldaemon.exceptions import PasswordProviderError


class DatabaseClient(client.DatabaseClient):
    connection: Any  # a wrapper with PooledDatabaseMixin

    def runshell(self, parameters: Iterable[str]) -> None:
        try:
            with self.connection.password_in_settings():
                super().runshell(parameters)
        except PasswordProviderError as error:
            raise CommandError(str(error)) from error
