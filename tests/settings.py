"""The example project's settings, made fast. DATABASE_URL says which database the tests use."""

from pooldaemon_example.settings import *

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
