"""What forks workers that run a Django project: how each is started, and asked for a unit."""

from __future__ import annotations

import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from benchmarks.measure import in_threads
from benchmarks.project.broker import TASK, make_app
from benchmarks.project.served import VARIABLE, Noted, noted, order_death
from benchmarks.server import Target
from scripts.throwaway_mariadb import free_port
from tests.servers.server import running
from tests.support.poll import wait_until

THREADS = 4
"""In each worker, of those that have threads."""

PATIENCE = 30.0
"""Seconds after which what has not happened fails the run."""

OURS = f"pooldaemon, {THREADS} threads"


class Master(Protocol):
    label: str

    def command(self, workers: int) -> list[str]:
        """What follows ``python -m``."""

    def ask(self, directory: Path) -> object:
        """Have one of its workers do a unit of work. May return before that is done."""


class Daemon:
    """Ours. Its threads look for work by themselves."""

    label = OURS

    def command(self, workers: int) -> list[str]:
        words = ["django", "rundaemon", "benchmarks.project.served.serve"]
        return [*words, f"--processes={workers}", f"--threads={THREADS}", "--idle-interval=0.2"]

    def ask(self, directory: Path) -> None:
        pass


class Gunicorn:
    def __init__(self, label: str, *options: str) -> None:
        self.label = f"gunicorn, {label}"
        self._options = options
        self._port = free_port()

    def command(self, workers: int) -> list[str]:
        words = ["gunicorn", "benchmarks.project.wsgi:application", *self._options]
        return [*words, f"--bind=127.0.0.1:{self._port}", f"--workers={workers}"]

    def ask(self, directory: Path) -> None:
        with suppress(OSError):  # it does not listen yet
            urllib.request.urlopen(f"http://127.0.0.1:{self._port}/", timeout=PATIENCE).close()


class Celery:
    label = "Celery, prefork"

    def command(self, workers: int) -> list[str]:
        words = ["celery", "-A", "benchmarks.project.tasks", "worker", "--pool=prefork"]
        quiet = ["--loglevel=WARNING", "--without-gossip", "--without-mingle"]
        return [*words, *quiet, f"--concurrency={workers}"]

    def ask(self, directory: Path) -> None:
        make_app(directory).send_task(TASK)


def everybody() -> list[Master]:
    threads = ("--worker-class=gthread", f"--threads={THREADS}")
    return [
        Daemon(),
        Gunicorn("sync"),
        Gunicorn("sync, preload", "--preload"),
        Gunicorn(f"{THREADS} threads", *threads),
        Gunicorn(f"{THREADS} threads, preload", "--preload", *threads),
        Celery(),
    ]


class Running:
    """A master at work, with its workers."""

    def __init__(self, master: Master, directory: Path) -> None:
        self._master = master
        self._directory = directory

    def work_of(self, workers: int, units: int) -> dict[int, int]:
        """Ask until so many workers have served so many units each; their pids and units."""

        def enough() -> dict[int, int]:
            # Many at a time, or the same worker would have them all.
            in_threads(workers * THREADS, lambda _: self._master.ask(self._directory))
            pids = [unit.pid for unit in noted(self._directory, "served")]
            counted = {pid: pids.count(pid) for pid in set(pids)}
            return counted if sum(n >= units for n in counted.values()) >= workers else {}

        return wait_until(enough, PATIENCE, f"{self._master.label}: not every worker worked")

    def replace(self) -> float:
        """Let the only worker die in a unit; the seconds until another has served one."""
        order_death(self._directory)
        self._master.ask(self._directory)
        (death,) = wait_until(
            lambda: noted(self._directory, "died"), PATIENCE, f"{self._master.label}: no death"
        )
        self._master.ask(self._directory)

        def successors() -> list[Noted]:
            return [one for one in noted(self._directory, "served") if one.pid != death.pid]

        first, *_ = wait_until(successors, PATIENCE, f"{self._master.label}: no new worker")
        return first.time - death.time


@contextmanager
def started(master: Master, workers: int, target: Target) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="masters-") as name:
        environment = {
            **os.environ,
            "DATABASE_URL": target.url(),
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            VARIABLE: name,
        }
        command = [sys.executable, "-m", *master.command(workers)]
        with running(command, environment, Path(name, "log")):
            yield Running(master, Path(name))
