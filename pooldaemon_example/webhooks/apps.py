"""The app's configuration."""

from django.apps import AppConfig
from django.core.checks import register

from pooldaemon_example.webhooks.conf import check_settings


class WebhooksConfig(AppConfig):
    name = "pooldaemon_example.webhooks"
    label = "webhooks"

    def ready(self) -> None:
        register(check_settings)
