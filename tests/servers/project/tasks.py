"""The Celery app. Its broker is a directory."""

import os
from pathlib import Path

import django
from celery import Celery

django.setup()

from tests.servers.project import work  # noqa: E402  # it needs Django set up

BROKER = Path(os.environ["SERVERS_BROKER"])

app = Celery("servers", broker="filesystem://", set_as_current=True)
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(BROKER / "queue"),
        "data_folder_out": str(BROKER / "queue"),
        "control_folder": str(BROKER / "control"),
    },
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)


@app.task  # type: ignore[untyped-decorator]
def write() -> None:
    work.write()


if os.environ.get("SERVERS_PARENT"):
    work.stay_busy()
