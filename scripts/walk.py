#!/usr/bin/env python3
"""How far a reader has to go: the files that each main path passes, and the moves between them.

    DATABASE_URL=mysql://… scripts/walk.py [--verbose]

Each path runs once under ``sys.setprofile``. Counted are files of ``pooldaemon/`` only:

* files: how many different ones are entered.
* moves: calls from one file into another.
* climbs: calls into a file of a higher layer than the caller's, the layers being those of the
  import-linter contracts in ``pyproject.toml``.

A fork is followed into the child, up to the worker's own code.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = f"{ROOT / 'pooldaemon'}{os.sep}"

LAYERS = (
    ("exceptions", "conf", "stats", "signals", "pool_commands", "backoff"),
    ("pool/tokens",),
    ("pool/fork_safety",),
    ("pool/watchdog",),
    ("pool/queue",),
    ("pool/drivers",),
    ("pool/sqlalchemy_pools", "pool/config"),
    ("pool/registry",),
    ("backends", "connections"),
    ("sessions", "faults"),
    ("workers/process",),
    ("workers/ipc",),
    ("workers/worker", "workers/supervisor"),
    ("management", "__init__"),
)
"""From the lowest to the highest, each with the folders and files that stand side by side."""


class Walk:
    """The files and moves of what runs in ``with walk:``, in this thread."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.moves: list[tuple[str, str]] = []

    def __enter__(self) -> Walk:
        sys.setprofile(self._look)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, arg: Any) -> None:
        if event != "call" or not (here := _file(frame)):
            return
        if here not in self.files:
            self.files.append(here)
        caller = frame.f_back
        while caller is not None and not (there := _file(caller)):
            caller = caller.f_back
        if caller is not None and there != here:
            self.moves.append((there, here))

    @property
    def climbs(self) -> list[tuple[str, str]]:
        return [move for move in self.moves if _layer(move[1]) > _layer(move[0])]

    def save(self, path: Path) -> None:
        """For another process: see :meth:`add`."""
        lines = [*self.files, "--", *(" ".join(move) for move in self.moves)]
        path.write_text("\n".join(lines))

    def add(self, path: Path) -> None:
        files, _, moves = path.read_text().partition("\n--")
        self.files += [name for name in files.split("\n") if name not in self.files]
        self.moves += [tuple(line.split(" ")) for line in moves.split("\n") if " " in line]  # type: ignore[misc]


def _file(frame: FrameType) -> str:
    """Its file in the package. A decorator's wrapper counts as part of what it decorates."""
    name = frame.f_code.co_filename
    if not name.startswith(PACKAGE) or frame.f_code.co_name == "wrapper":
        return ""
    return name[len(PACKAGE) :]


def _layer(file: str) -> int:
    return max((n for n, layer in enumerate(LAYERS) if file.startswith(layer)), default=0)


def borrows() -> Iterator[tuple[str, Walk]]:
    """The first borrow, which makes the pool; one that opens a session; one of an idle session."""
    from django.db import connection  # noqa: PLC0415 - once settings are there

    from pooldaemon import close_pool  # noqa: PLC0415

    with Walk() as walk:
        connection.ensure_connection()
    yield "first borrow", walk
    connection.close()
    close_pool()
    for title, act in (
        ("cold borrow", connection.ensure_connection),
        ("return", connection.close),
        ("warm borrow", connection.ensure_connection),
    ):
        with Walk() as walk:
            act()
        yield title, walk
    connection.close()


def fork(directory: Path) -> Iterator[tuple[str, Walk]]:
    """A worker, from the supervisor's wish for one to the worker's own code."""
    from pooldaemon.workers.supervisor.spawner import Spawner  # noqa: PLC0415

    walk, state_file = Walk(), directory / "child"

    def run_worker(*args: object) -> int:
        walk.stop()
        walk.save(state_file)
        return 0

    spawner = Spawner(run_worker, lambda: None)
    with walk:
        worker = spawner.fork("worker-1", {}, (), 0.0)
    os.waitpid(worker.pid, 0)
    walk.add(state_file)
    yield "fork", walk
    spawner.close()


def unit() -> Iterator[tuple[str, Walk]]:
    """A unit of work with a query, on a connection that is idle in the pool."""
    from django.db import connection  # noqa: PLC0415

    from pooldaemon.workers.worker.activity import Activity  # noqa: PLC0415
    from pooldaemon.workers.worker.context import WorkContext  # noqa: PLC0415
    from pooldaemon.workers.worker.thread import WorkerThread  # noqa: PLC0415

    def perform(ctx: WorkContext) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return True

    thread = WorkerThread(
        WorkContext("worker-1/1", threading.Event()), perform, 1.0, Activity(1, lambda: None)
    )
    thread.run_once()
    with Walk() as walk:
        thread.run_once()
    yield "unit", walk


def main(arguments: list[str]) -> int:
    if not os.environ.get("DATABASE_URL") or arguments not in ([], ["--verbose"]):
        print(__doc__, file=sys.stderr)
        return 2
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pooldaemon_example.settings")
    import django  # noqa: PLC0415

    django.setup()
    with TemporaryDirectory() as directory:
        for path in (borrows, partial(fork, Path(directory)), unit):
            for title, walk in path():
                report(title, walk, verbose=bool(arguments))
    return 0


def report(title: str, walk: Walk, *, verbose: bool) -> None:
    counts = len(walk.files), len(walk.moves), len(walk.climbs)
    print("{:12} {:3} files {:4} moves {:3} climbs".format(title, *counts))
    if verbose:
        print("".join(f"    {name}\n" for name in walk.files), end="")
        print("".join(f"    climb: {a} -> {b}\n" for a, b in walk.climbs), end="")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
