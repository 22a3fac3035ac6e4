"""What a test gives goes over the defaults."""

import json
import os
from typing import Any

SECRET_KEY = "of the tests"
INSTALLED_APPS = ["pooldaemon", "tests.lifecycle.project"]
USE_TZ = True
DATABASES: dict[str, Any] = {}

globals().update(json.loads(os.environ["LIFECYCLE_SETTINGS"]))
