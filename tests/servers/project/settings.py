"""Settings of a project that forking servers run; the database comes from the environment."""

import json
import os

SECRET_KEY = "for-tests"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["pooldaemon"]
ROOT_URLCONF = os.environ.get("SERVERS_URLCONF", "tests.servers.project.wsgi")
DATABASES = {"default": json.loads(os.environ["SERVERS_DATABASE"])}
USE_TZ = True
