"""A page that makes as many ORM queries as its address says."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.models import ROWS, Note


def page(_request: HttpRequest, queries: int) -> HttpResponse:
    notes = [Note.objects.get(pk=1 + number % ROWS) for number in range(queries)]
    return HttpResponse("\n".join(str(note) for note in notes), content_type="text/plain")


urlpatterns = [path("<int:queries>", page)]
