"""gunicorn's side of Prometheus' multiprocess mode."""

from typing import Any

from prometheus_client.multiprocess import mark_process_dead


def child_exit(server: Any, worker: Any) -> None:
    mark_process_dead(worker.pid)
    server.log.warning("worker %d is gone", worker.pid)
