from django.contrib.gis.db.backends.mysql import base

from pooldaemon.backends.mysql import base as pooled


class DatabaseWrapper(pooled.DatabaseWrapper, base.DatabaseWrapper):
    pass
