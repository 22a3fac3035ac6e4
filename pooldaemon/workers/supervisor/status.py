"""Runs in the parent: what ``status`` reports about the workers, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pooldaemon.workers.supervisor.handle import WorkerHandle
from pooldaemon.workers.supervisor.worker_set import WorkerSet


def describe_workers(worker_set: WorkerSet, now: float) -> dict[str, Any]:
    """The workers, by name.

    Times are in seconds, memory is in bytes.
    """
    workers = sorted(worker_set.workers.values(), key=lambda w: _order(w.name))
    return {
        "processes": worker_set.size,
        "units": worker_set.units + sum(worker.report.units for worker in workers),
        "failures": worker_set.failures + sum(worker.report.failures for worker in workers),
        "restarts": worker_set.restarts,
        "workers": [_describe(worker, worker_set, now) for worker in workers],
    }


def _describe(worker: WorkerHandle, worker_set: WorkerSet, now: float) -> dict[str, Any]:
    slot = worker_set.slots.get(worker.name)
    return {
        "name": worker.name,
        "pid": worker.pid,
        "state": worker.state.value,
        "age": round(now - worker.started, 1),
        "silent": round(now - worker.last_heard, 1),
        "crashes": slot.crashes if slot else 0,
        "restarts": slot.restarts if slot else 0,
        **asdict(worker.report),
        "progress": [
            {"thread": thread, "done": done, "total": total}
            for thread, (done, total) in sorted(worker.progress.items())
        ],
        **worker.view.describe(worker.progress),
    }


def _order(name: str) -> int:
    return int(name.rpartition("-")[2])
