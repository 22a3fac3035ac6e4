#!/usr/bin/env python
"""Run a command of the example project."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pooldaemon_example.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # A mistake in the settings is the user's to mend: the line says how, a traceback would not.
        sys.exit(f"ImproperlyConfigured: {error}")


if __name__ == "__main__":
    main()
