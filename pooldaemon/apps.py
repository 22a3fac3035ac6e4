"""The Django app."""

from __future__ import annotations

from types import ModuleType

from django.apps import AppConfig
from django.core.checks import Tags, register

from pooldaemon.checks import check_pool_settings, check_pooldaemon_settings
from pooldaemon.workers import records


class PooldaemonConfig(AppConfig):
    name = "pooldaemon"
    verbose_name = "Pooldaemon"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        super().__init__(app_name, app_module)
        # In every process of the project, for they have one LOGGING with its formats; and not in
        # ready(), since other apps log in theirs.
        records.add_fields()

    def ready(self) -> None:
        register(check_pool_settings, Tags.compatibility)
        register(check_pooldaemon_settings, Tags.compatibility)
