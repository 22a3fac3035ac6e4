"""Settings of Django's test suite; CONFORMANCE_BACKEND says which backend it runs on."""

import os

import django

from conformance.backends import database

DATABASES = {alias: database(alias) for alias in ("default", "other")}
if django.VERSION < (6, 0):  # the suite expects the default, which was another one
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SECRET_KEY = "django_tests_secret_key"  # noqa: S105 - some of the tests know it
TEST_RUNNER = "conformance.recorder.RecordingRunner"
USE_TZ = False
CONFORMANCE_RECORD = os.environ["CONFORMANCE_RECORD"]
