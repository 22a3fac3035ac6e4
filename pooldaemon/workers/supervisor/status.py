"""Runs in the parent: what the daemon tells about itself, as JSON takes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pooldaemon.workers.supervisor.handle import WorkerHandle
from pooldaemon.workers.supervisor.worker_set import Crew


def describe_crew(crew: Crew, now: float) -> dict[str, Any]:
    """The workers, by name.

    Times are in seconds, memory is in bytes.
    """
    workers = sorted(crew.workers.values(), key=lambda w: _order(w.name))
    return {
        "processes": crew.size,
        "units": crew.units + sum(worker.report.units for worker in workers),
        "failures": crew.failures + sum(worker.report.failures for worker in workers),
        "restarts": crew.restarts,
        "workers": [_describe(worker, crew, now) for worker in workers],
    }


def _describe(worker: WorkerHandle, crew: Crew, now: float) -> dict[str, Any]:
    place = crew.places.get(worker.name)
    return {
        "name": worker.name,
        "pid": worker.pid,
        "state": worker.state.value,
        "age": round(now - worker.started, 1),
        "silent": round(now - worker.last_heard, 1),
        "crashes": place.crashes if place else 0,
        "restarts": place.restarts if place else 0,
        **asdict(worker.report),
        "progress": [
            {"thread": thread, "done": done, "total": total}
            for thread, (done, total) in sorted(worker.progress.items())
        ],
        **worker.view.describe(worker.progress),
    }


def _order(name: str) -> int:
    return int(name.rpartition("-")[2])
