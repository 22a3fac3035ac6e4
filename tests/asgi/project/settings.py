"""Its database is an account that the server lets have as many sessions as the pool's cap."""

import os

from tests.mysql.scratch import Account

SECRET_KEY = "for-tests-only"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["pooldaemon", "tests.asgi.project"]
MIDDLEWARE = ["pooldaemon.middleware.cancel_waits"]
ROOT_URLCONF = "tests.asgi.project.views"
USE_TZ = True

CAP = int(os.environ["CAP"])
DATABASES = {
    "default": Account.from_url(os.environ["DATABASE_URL"]).settings(
        OPTIONS={"pool": {"pool_size": CAP, "timeout": 20}}
    )
}
