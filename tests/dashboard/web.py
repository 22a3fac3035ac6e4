"""A site of one page, which holds a connection; its own settings and its own application."""

import json
import os

from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path

SECRET_KEY = "for-tests"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["pooldaemon", "pooldaemon.dashboard"]
MIDDLEWARE = ["pooldaemon.dashboard.middleware.publish_pools"]
ROOT_URLCONF = __name__
POOLDAEMON = {"PUBLISH_INTERVAL": 1}
USE_TZ = True
DATABASES = {"default": json.loads(os.environ["WEB_DATABASE"])}


def index(_request: HttpRequest) -> HttpResponse:
    connection.ensure_connection()
    return HttpResponse(str(os.getpid()))


urlpatterns = [path("", index)]
application = get_wsgi_application
