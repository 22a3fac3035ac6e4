"""The unit of work as a page, and its application."""

from __future__ import annotations

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.project.served import serve


def page(_request: HttpRequest) -> HttpResponse:
    serve()
    return HttpResponse("served\n")


urlpatterns = [path("", page)]
application = get_wsgi_application()
