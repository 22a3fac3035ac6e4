"""The unit of work as a Celery task."""

from __future__ import annotations

import django

from benchmarks.project.broker import TASK, make_app
from benchmarks.project.served import directory, serve

django.setup()
app = make_app(directory())
app.task(serve, name=TASK)
