"""The unit of work: a query, and a line that says which process has served it, and when.

One that is told to dies instead.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from django.db import connection

VARIABLE = "BENCHMARK_DIRECTORY"
"""Names the directory in which the units leave their lines."""


class Noted(NamedTuple):
    """:ivar time: monotonic seconds, the same clock for all processes of a machine."""

    pid: int
    time: float


def directory() -> Path:
    return Path(os.environ[VARIABLE])


def serve(_ctx: object = None) -> None:
    with connection.cursor() as cursor:
        # Long enough that another worker takes the next one.
        cursor.execute("SELECT SLEEP(0.01)")
    died = _is_to_die(directory())
    _note("died" if died else "served")
    if died:
        os.kill(os.getpid(), signal.SIGKILL)


def order_death(where: Path) -> None:
    """Let one of the processes with this directory die in its next unit."""
    _order(where).touch()


def noted(where: Path, kind: str) -> list[Noted]:
    """What they have ``"served"``, or where they ``"died"``."""
    if not (where / kind).exists():
        return []
    words = (line.split() for line in (where / kind).read_text().splitlines())
    return [Noted(int(pid), float(when)) for pid, when in words]


def _note(kind: str) -> None:
    with (directory() / kind).open("a") as file:
        file.write(f"{os.getpid()} {time.monotonic()}\n")


def _order(where: Path) -> Path:
    return where / "order"


def _is_to_die(where: Path) -> bool:
    try:
        _order(where).unlink()
    except FileNotFoundError:
        return False
    return True
