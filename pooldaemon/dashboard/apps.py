"""The app of the page."""

from __future__ import annotations

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "pooldaemon.dashboard"
    label = "pooldaemon_dashboard"
    verbose_name = "Pooldaemon"
    default_auto_field = "django.db.models.BigAutoField"
