"""The Django app."""

from __future__ import annotations

from types import ModuleType

from django.apps import AppConfig
from django.core.checks import Tags, register

from pooldaemon.checks import (
    check_deployment,
    check_pool_settings,
    check_pooldaemon_settings,
    check_servers,
    check_settings_together,
)
from pooldaemon.workers.process import log_context


class PooldaemonConfig(AppConfig):
    name = "pooldaemon"
    verbose_name = "Pooldaemon"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        super().__init__(app_name, app_module)
        # In every process of the project, since all share the formats of LOGGING; and before
        # ready(), since other apps may log in theirs.
        log_context.add_fields()

    def ready(self) -> None:
        for check in (check_pool_settings, check_pooldaemon_settings, check_settings_together):
            register(check, Tags.compatibility, "pooldaemon")
        register(check_deployment, Tags.security, deploy=True)
        register(check_servers, Tags.database)
