"""Settings of the example project. The environment overrides what may differ between runs."""

import os
from pathlib import Path

from pooldaemon_example.database import database_from_url

BASE_DIR = Path(__file__).resolve().parent.parent

# The defaults of the two secrets are public: use them only to try the project on one machine.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "for-local-trial-only-" + "x" * 40)
WEBHOOK_SIGNING_SECRET = os.environ.get("WEBHOOK_SIGNING_SECRET", "for-local-trial-only")

DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1").split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "pooldaemon",
    "pooldaemon_example.webhooks",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
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
ROOT_URLCONF = "pooldaemon_example.urls"
WSGI_APPLICATION = "pooldaemon_example.wsgi.application"
STATIC_URL = "static/"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": database_from_url(
        os.environ.get("DATABASE_URL") or f"sqlite:///{BASE_DIR / 'demo.sqlite3'}"
    )
}

# The target of `manage.py rundaemon` without an argument.
POOLDAEMON = {"TARGET": "pooldaemon_example.webhooks.delivery.deliver_next"}

# Seconds, except for the attempts; read and validated by pooldaemon_example.webhooks.conf.
WEBHOOK_CONNECT_TIMEOUT = os.environ.get("WEBHOOK_CONNECT_TIMEOUT", "3")
WEBHOOK_READ_TIMEOUT = os.environ.get("WEBHOOK_READ_TIMEOUT", "10")
WEBHOOK_LEASE = os.environ.get("WEBHOOK_LEASE", "60")
WEBHOOK_MAX_ATTEMPTS = os.environ.get("WEBHOOK_MAX_ATTEMPTS", "8")
WEBHOOK_RETRY_BASE = os.environ.get("WEBHOOK_RETRY_BASE", "2")
WEBHOOK_RETRY_CAP = os.environ.get("WEBHOOK_RETRY_CAP", "600")
