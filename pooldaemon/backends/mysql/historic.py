"""``MYSQLPOOL_BACKEND`` and ``MYSQLPOOL_ARGUMENTS``, the settings of an older MySQL pool."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.pool.registry import registry


def historic_settings() -> dict[str, tuple[str, Any]]:
    """The values of these settings as defaults for ``OPTIONS["pool"]``.

    By name, the setting and the value. ``use_threadlocal``, which SQLAlchemy removed in 1.4, is
    left out with a ``DeprecationWarning``.

    :raises ImproperlyConfigured: ``MYSQLPOOL_ARGUMENTS`` is not a dict, or has a
        ``password_provider``, which belongs to one database.
    """
    arguments = getattr(settings, "MYSQLPOOL_ARGUMENTS", {})
    if not isinstance(arguments, Mapping):
        raise ImproperlyConfigured(f"MYSQLPOOL_ARGUMENTS is {arguments!r}; it must be a dict.")
    if "password_provider" in arguments:
        raise ImproperlyConfigured(
            "MYSQLPOOL_ARGUMENTS['password_provider'] would apply to all databases. Set it in "
            "OPTIONS['pool'] of the database whose passwords it returns."
        )
    given = {key: (f"MYSQLPOOL_ARGUMENTS[{key!r}]", value) for key, value in arguments.items()}
    if given.pop("use_threadlocal", None):
        warnings.warn(
            "MYSQLPOOL_ARGUMENTS['use_threadlocal'] has no effect: SQLAlchemy removed it in 1.4. "
            "Delete it.",
            DeprecationWarning,
            stacklevel=2,
        )
    if (backend := getattr(settings, "MYSQLPOOL_BACKEND", None)) is not None:
        given.setdefault("poolclass", ("MYSQLPOOL_BACKEND", backend))
    return given


@receiver(setting_changed)
def look_again(*, setting: str, **kwargs: Any) -> None:
    """Tests may change settings: then wrappers have to look up their pools again."""
    if setting.startswith("MYSQLPOOL_"):
        registry.forget_settings()
