"""The WEBHOOK_* settings, validated."""

import math
from dataclasses import dataclass
from typing import Any, Self

from django.conf import settings
from django.core.checks import Error
from django.core.exceptions import ImproperlyConfigured


@dataclass(frozen=True)
class WebhookConfig:
    signing_secret: str
    connect_timeout: float
    read_timeout: float
    lease: float
    max_attempts: int
    retry_base: float
    retry_cap: float

    @classmethod
    def from_settings(cls) -> Self:
        config = cls(
            signing_secret=settings.WEBHOOK_SIGNING_SECRET,
            connect_timeout=_seconds("WEBHOOK_CONNECT_TIMEOUT"),
            read_timeout=_seconds("WEBHOOK_READ_TIMEOUT"),
            lease=_seconds("WEBHOOK_LEASE"),
            max_attempts=_count("WEBHOOK_MAX_ATTEMPTS"),
            retry_base=_seconds("WEBHOOK_RETRY_BASE"),
            retry_cap=_seconds("WEBHOOK_RETRY_CAP"),
        )
        if not config.signing_secret:
            raise ImproperlyConfigured(
                "WEBHOOK_SIGNING_SECRET is empty; it must be a secret string"
            )
        if config.retry_cap < config.retry_base:
            raise ImproperlyConfigured(
                f"WEBHOOK_RETRY_CAP={config.retry_cap:g} is below"
                f" WEBHOOK_RETRY_BASE={config.retry_base:g}"
            )
        # A shorter lease could expire while its worker is still sending, and deliver twice.
        if config.lease <= config.connect_timeout + config.read_timeout:
            raise ImproperlyConfigured(
                f"WEBHOOK_LEASE={config.lease:g} must be longer than WEBHOOK_CONNECT_TIMEOUT +"
                f" WEBHOOK_READ_TIMEOUT = {config.connect_timeout + config.read_timeout:g}"
            )
        return config


def check_settings(**kwargs: Any) -> list[Error]:
    """For `manage.py check`: find a wrong value before the daemon starts."""
    try:
        WebhookConfig.from_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="webhooks.E001")]
    return []


def _seconds(name: str) -> float:
    value = getattr(settings, name)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a number of seconds above 0")
    return seconds


def _count(name: str) -> int:
    value = getattr(settings, name)
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = 0
    # The column is a PositiveSmallIntegerField.
    if not 1 <= count <= 32767:
        raise ImproperlyConfigured(
            f"{name} is {value!r}; it must be a whole number from 1 to 32767"
        )
    return count
