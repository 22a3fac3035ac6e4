"""MySQL's test databases under a pool."""

from __future__ import annotations

from django.db.backends.mysql import creation

from pooldaemon.backends.creation import PooledCreationMixin


class DatabaseCreation(PooledCreationMixin, creation.DatabaseCreation):
    def _clone_db(self, source_database_name: str, target_database_name: str) -> None:
        # Django passes the settings to the client programs without our DatabaseClient.
        with self.connection.password_in_settings():
            # Django has this method, but its stubs do not.
            super()._clone_db(source_database_name, target_database_name)  # type: ignore[misc]
