"""The example project's settings, made fast. DATABASE_URL says which database the tests use."""

from pooldaemon_example import settings
from pooldaemon_example.settings import *

# Not in the example: publishing takes a session now and then, and the demo promises their number.
INSTALLED_APPS = [*settings.INSTALLED_APPS, "pooldaemon.dashboard"]

# Session mode, the default: tests of transaction mode say so.
settings.DATABASES["default"].get("OPTIONS", {}).pop("pool", None)

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
