"""A Celery app behind a broker that needs no service: a directory."""

from __future__ import annotations

from pathlib import Path

from celery import Celery

TASK = "serve"


def make_app(directory: Path) -> Celery:
    for name in ("queue", "control"):
        (directory / name).mkdir(exist_ok=True)
    app = Celery("benchmarks", broker="filesystem://", task_ignore_result=True)
    app.conf.broker_transport_options = {
        "data_folder_in": str(directory / "queue"),
        "data_folder_out": str(directory / "queue"),
        "control_folder": str(directory / "control"),
        "polling_interval": 0.01,  # seconds; it would be a whole one
    }
    return app
