"""The application, loaded by the server's master process, which uses the database itself."""

import os

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.servers.project import work


def index(_request: HttpRequest) -> HttpResponse:
    work.write()
    return HttpResponse(str(os.getpid()))


urlpatterns = [path("", index)]
application = get_wsgi_application()
if os.environ.get("SERVERS_NO_THREADS"):
    work.ask()
else:
    work.stay_busy()
