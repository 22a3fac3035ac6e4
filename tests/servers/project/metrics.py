"""An application whose pools, in several processes, Prometheus scrapes."""

import os

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from pooldaemon.metrics.multiprocess import publish
from tests.servers.project import work


def index(_request: HttpRequest) -> HttpResponse:
    work.ask()
    return HttpResponse(str(os.getpid()))


def metrics(_request: HttpRequest) -> HttpResponse:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return HttpResponse(generate_latest(registry), content_type="text/plain")


urlpatterns = [path("", index), path("metrics", metrics)]
application = get_wsgi_application()
publish(interval=0.1)
