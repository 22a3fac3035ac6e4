"""``manage.py pooldaemon reconnect``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import OutputWrapper

from pooldaemon.console import steering

add_arguments = steering.add_arguments


def run(options: Mapping[str, Any], out: OutputWrapper) -> None:
    steering.send("reconnect", options, out)
