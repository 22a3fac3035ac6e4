"""``MYSQLPOOL_BACKEND`` and ``MYSQLPOOL_ARGUMENTS``, the settings of older pools of this kind."""

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
    """Pool arguments that ``MYSQLPOOL_BACKEND`` and ``MYSQLPOOL_ARGUMENTS`` stand for.

    Defaults under ``OPTIONS["pool"]``, each with the place where it was given. ``use_threadlocal``
    has gone from SQLAlchemy with version 1.4: it is left out, with a ``DeprecationWarning``.

    :raises ImproperlyConfigured: ``MYSQLPOOL_ARGUMENTS`` is not a dict, or has what belongs to
        one database.
    """
    arguments = getattr(settings, "MYSQLPOOL_ARGUMENTS", {})
    if not isinstance(arguments, Mapping):
        raise ImproperlyConfigured(f"MYSQLPOOL_ARGUMENTS is {arguments!r}; it must be a dict.")
    if "password_provider" in arguments:
        raise ImproperlyConfigured(
            "MYSQLPOOL_ARGUMENTS['password_provider'] would hold for all databases; set it in "
            "OPTIONS['pool'] of the one whose passwords it returns."
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
    """Tests change settings: the wrappers then have to find their pools anew."""
    if setting.startswith("MYSQLPOOL_"):
        registry.forget_settings()
