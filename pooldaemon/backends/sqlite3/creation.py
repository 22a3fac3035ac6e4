"""SQLite's test databases under a pool."""

from django.db.backends.sqlite3 import creation

from pooldaemon.backends.creation import PooledCreationMixin


class DatabaseCreation(PooledCreationMixin, creation.DatabaseCreation):
    pass
