"""A unit of work for the page to look at. There is load while a file is there."""

from pathlib import Path

from django.db import connection

from pooldaemon.workers.worker.context import WorkContext

STEPS = 10


def switch(directory: Path) -> Path:
    return directory / "load"


def work(ctx: WorkContext) -> bool:
    """Hold a connection for a moment."""
    if not switch(Path.cwd()).exists():
        return False
    connection.ensure_connection()
    for step in range(STEPS):
        ctx.progress(step, STEPS)
        ctx.wait(0.02)
    return True
