"""MySQL's test databases under a pool."""

from django.db.backends.mysql import creation

from pooldaemon.backends.creation import PooledCreationMixin


class DatabaseCreation(PooledCreationMixin, creation.DatabaseCreation):
    pass
