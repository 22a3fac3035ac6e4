"""A page in Django's admin that shows pools and daemons, and operates daemons.

An app of its own, since it has tables::

    INSTALLED_APPS = [..., "django.contrib.admin", "pooldaemon", "pooldaemon.dashboard"]

The page shows what daemons and web processes publish in the database, and what daemons of the same
host answer on their control sockets.
"""
