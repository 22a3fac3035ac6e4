"""Every error this project raises by a name of its own.

Pool errors are ``django.db.OperationalError``, so that handlers written for a database that
refuses a connection also see a pool that does. Wrong settings raise Django's own
``ImproperlyConfigured``.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db.utils import OperationalError

__all__ = ["ImproperlyConfigured", "PoolError", "PoolTimeout", "TooManyWaiters"]


class PoolError(OperationalError):
    """Base of the errors that a pool raises."""


class PoolTimeout(PoolError):
    """No connection became free within the pool's ``timeout``."""


class TooManyWaiters(PoolError):
    """The pool's queue already holds ``max_waiting`` threads: shed the load now."""
