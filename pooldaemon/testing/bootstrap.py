"""``python -m pooldaemon.testing NAME …``: a command on the databases of a test.

It runs in a process of its own, whose settings would name those of development or production.
"""

from __future__ import annotations

import json
import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line

DATABASES = "POOLDAEMON_TEST_DATABASES"
"""The environment variable with the names of databases by alias, as JSON."""


def main() -> None:
    for alias, name in json.loads(os.environ[DATABASES]).items():
        settings.DATABASES[alias]["NAME"] = name
    execute_from_command_line(["manage.py", *sys.argv[1:]])
