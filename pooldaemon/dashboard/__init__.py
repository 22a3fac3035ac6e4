"""A page in Django's admin that shows pools and daemons, and operates daemons.

An app of its own, so that nobody gets a table who did not ask for it::

    INSTALLED_APPS = [..., "django.contrib.admin", "pooldaemon", "pooldaemon.dashboard"]

What the page shows comes through the database, in which daemons and web processes publish how they
are, and through the control sockets of the daemons that it can reach.
"""
