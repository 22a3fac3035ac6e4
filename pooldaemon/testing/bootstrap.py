"""``python -m pooldaemon.testing NAME …``: runs a management command on the databases of a test.

The process has its own settings, which name the databases of development or production.
"""

from __future__ import annotations

import json
import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line

DATABASES = "POOLDAEMON_TEST_DATABASES"
"""The environment variable that has the names of the databases by alias, as JSON."""


def main() -> None:
    for alias, name in json.loads(os.environ[DATABASES]).items():
        settings.DATABASES[alias]["NAME"] = name
    execute_from_command_line(["manage.py", *sys.argv[1:]])
