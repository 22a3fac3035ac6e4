"""What a test gives goes over the defaults."""

import json
import os
from pathlib import Path
from typing import Any

import pooldaemon  # noqa: F401 - which most settings do by naming its backend
from tests.support import injection

injection.begin(injection.IMPORTED)

SECRET_KEY = "of the tests"
INSTALLED_APPS = ["pooldaemon", "tests.lifecycle.project"]
USE_TZ = True
DATABASES: dict[str, Any] = {}

globals().update(json.loads(os.environ["LIFECYCLE_SETTINGS"]))

# What the test writes while the daemon runs, for a reload to find.
_changed = Path(os.environ["LIFECYCLE_DIRECTORY"], "settings.json")
if _changed.exists():
    globals().update(json.loads(_changed.read_text()))
