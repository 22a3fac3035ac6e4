"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register

from pooldaemon.checks import check_pool_settings, check_pooldaemon_settings


class PooldaemonConfig(AppConfig):
    name = "pooldaemon"
    verbose_name = "Pooldaemon"

    def ready(self) -> None:
        register(check_pool_settings, Tags.compatibility)
        register(check_pooldaemon_settings, Tags.compatibility)
