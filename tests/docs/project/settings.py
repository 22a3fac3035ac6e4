"""Settings of the project that the documentation's examples are about."""

import json
import os

SECRET_KEY = "for-tests"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
ROOT_URLCONF = "shop.urls"
STATIC_URL = "static/"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "pooldaemon",
    "pooldaemon.dashboard",
    "pooldaemon_example.webhooks",
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": json.loads(os.environ["SHOP_DATABASE"])}
WEBHOOK_SIGNING_SECRET = "for-tests"
WEBHOOK_CONNECT_TIMEOUT = "3"
WEBHOOK_READ_TIMEOUT = "10"
WEBHOOK_LEASE = "60"
WEBHOOK_MAX_ATTEMPTS = "8"
WEBHOOK_RETRY_BASE = "2"
WEBHOOK_RETRY_CAP = "600"
